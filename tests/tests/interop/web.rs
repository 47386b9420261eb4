//! nginx and Apache: workers that are forked from a master which has used the token already, under load and while they are
//! replaced; with OpenSSL's engine on this machine and with its provider in the trixie tree.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use crate::bench::{Bench, Server, end_of, free_port, wait_until};
use crate::openssl;

/// The keys that servers prove themselves by.
const KEYS: [&str; 2] = ["rsa", "p256"];
/// Handshakes of a load, and how many of them at a time.
const HANDSHAKES: usize = 300;
const CONCURRENCY: usize = 8;

/// A web server with a site for each of [`KEYS`].
struct Site<'a> {
    bench: &'a Bench,
    server: Server,
    /// Its program, and the signal that makes it replace its workers.
    program: (&'static str, Signal),
    ports: Vec<u16>,
    /// Handshakes at a time.
    concurrency: usize,
}

#[test]
fn nginx_engine() {
    let mut bench = Bench::here();
    openssl::engine(&mut bench);
    Site::nginx(&bench).survives();
}

#[test]
fn nginx_provider() {
    let Some(mut bench) = Bench::trixie() else { return };
    openssl::provider(&mut bench);
    Site::nginx(&bench).survives();
}

/// What a worker finds when it is asked for the first time after it gave up root's rights: what its master would have found.
#[test]
fn who_gave_up_roots_rights_finds_the_store() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root has rights to give up");
        return;
    }
    let bench = Bench::here();
    prepare(&bench);
    bench.write(
        "worker.py",
        "import ctypes, os\nos.setgroups([]); os.setgid(33); os.setuid(33)\nmodule = ctypes.CDLL(os.environ['MODULE'])\n\
         assert module.C_Initialize(None) == 0\ncount, slots = ctypes.c_ulong(9), (ctypes.c_ulong * 9)()\n\
         assert module.C_GetSlotList(1, slots, ctypes.byref(count)) == 0\ninfo = ctypes.create_string_buffer(1000)\n\
         assert module.C_GetTokenInfo(ctypes.c_ulong(slots[0]), info) == 0\nprint(info.raw[:32].decode().strip())\n",
    );
    assert_eq!(bench.sh("python3 worker.py").text(), "alpha\n");
}

#[cfg(feature = "clients")]
#[test]
fn apache_engine_prefork() {
    let mut bench = Bench::here();
    openssl::engine(&mut bench);
    Site::apache(&bench, "prefork").survives();
}

#[cfg(feature = "clients")]
#[test]
fn apache_engine_event() {
    let mut bench = Bench::here();
    openssl::engine(&mut bench);
    Site::apache(&bench, "event").survives();
}

#[cfg(feature = "clients")]
#[test]
fn apache_provider_prefork() {
    let Some(mut bench) = Bench::trixie() else { return };
    openssl::provider(&mut bench);
    Site::apache(&bench, "prefork").survives();
}

#[cfg(feature = "clients")]
#[test]
fn apache_provider_event() {
    let Some(mut bench) = Bench::trixie() else { return };
    openssl::provider(&mut bench);
    // This version of the provider refuses a thread what it wants while another one is logging in. So the workers are asked one
    // after the other.
    Site { concurrency: 1, ..Site::apache(&bench, "event") }.serves();
}

/// The name of the key as it stands in a server's configuration.
fn key(bench: &Bench, label: &str) -> String {
    if bench.is_tree() {
        bench.path(&format!("{label}.pem"))
    } else {
        format!("engine:pkcs11:{}", openssl::private(label))
    }
}

/// Certificates, the keys' files, and a group of servers that may read the store.
fn prepare(bench: &Bench) -> Vec<u16> {
    for label in KEYS {
        bench.certify(label);
        if bench.is_tree() {
            openssl::write_uri_file(bench, label);
        }
    }
    if tests::peer::is_under_test() {
        // It wants to write wherever it reads.
        bench.sh(r#"chmod -R a+rwX "$TPM2_PKCS11_STORE""#);
    } else if nix::unistd::geteuid().is_root() {
        // As the documents tell it: root manages the store, a group reads it.
        bench.sh(r#"chgrp -R www-data "$TPM2_CRYPTOKI_STORE"; chmod 750 "$TPM2_CRYPTOKI_STORE"; chmod 640 "$TPM2_CRYPTOKI_STORE"/*; chmod 644 config.toml"#);
    }
    KEYS.map(|_| free_port()).to_vec()
}

impl Site<'_> {
    fn nginx(bench: &Bench) -> Site<'_> {
        let ports = prepare(bench);
        let user = if nix::unistd::geteuid().is_root() { "user www-data;\n" } else { "" };
        let variables: String = bench
            .environment()
            .iter()
            .filter(|(name, _)| name.starts_with("TPM2_") || name == "OPENSSL_CONF")
            .map(|(name, _)| format!("env {name};\n"))
            .collect();
        let engine = if bench.is_tree() { "" } else { "ssl_engine pkcs11;\n" };
        let home = bench.home();
        let servers: String = KEYS
            .iter()
            .zip(&ports)
            .map(|(label, port)| {
                format!(
                    "server {{\n listen 127.0.0.1:{port} ssl;\n ssl_certificate {home}/{label}.crt;\n \
                     ssl_certificate_key \"{}\";\n location / {{ return 200 \"worker $pid\\n\"; }}\n}}\n",
                    key(bench, label)
                )
            })
            .collect();
        let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {home}/nginx-{name};\n"))
            .concat();
        bench.write(
            "nginx.conf",
            format!(
                "{user}{variables}daemon off;\nworker_processes 4;\npid {home}/nginx.pid;\nerror_log stderr info;\n{engine}\
                 events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{places}\
                 ssl_session_cache off;\nssl_session_tickets off;\nkeepalive_timeout 0;\n{servers}}}\n"
            ),
        );
        let server = bench.serve("nginx", "nginx", &["-e", "stderr", "-c", &bench.path("nginx.conf")]);
        let server = server.listens_on(ports[1]);
        Site { bench, server, program: ("nginx", Signal::SIGHUP), ports, concurrency: CONCURRENCY }
    }

    /// With this multi-processing module: `prefork` has workers of one thread, `event` workers of many.
    #[cfg(feature = "clients")]
    fn apache<'a>(bench: &'a Bench, mpm: &str) -> Site<'a> {
        let ports = prepare(bench);
        let home = bench.home();
        let user = if nix::unistd::geteuid().is_root() { "User www-data\nGroup www-data\n" } else { "" };
        let modules: String = [&format!("mpm_{mpm}"), "authz_core", "ssl"]
            .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
            .concat();
        let engine = if bench.is_tree() { "" } else { "SSLCryptoDevice pkcs11\n" };
        let sites: String = KEYS
            .iter()
            .zip(&ports)
            .map(|(label, port)| {
                format!(
                    "Listen 127.0.0.1:{port}\n<VirtualHost 127.0.0.1:{port}>\n SSLEngine on\n SSLCertificateFile {home}/{label}.crt\n \
                     SSLCertificateKeyFile \"{}\"\n</VirtualHost>\n",
                    openssl::private(label)
                )
            })
            .collect();
        std::fs::create_dir(bench.world.path("pages")).unwrap();
        bench.write("pages/page", "a page\n");
        bench.write(
            "apache.conf",
            format!(
                "ServerName localhost\nServerRoot {home}\nDefaultRuntimeDir {home}\nPidFile {home}/apache.pid\n{user}{modules}{engine}\
                 ErrorLog /dev/stderr\nCustomLog {home}/workers \"worker %P\"\nKeepAlive Off\nStartServers 4\nMinSpareServers 4\n\
                 SSLSessionCache none\nSSLSessionTickets off\nDocumentRoot {home}/pages\n{sites}"
            )
            .replace("MinSpareServers 4\n", if mpm == "prefork" { "MinSpareServers 4\n" } else { "MinSpareThreads 60\n" }),
        );
        let server = bench.serve("apache", "apache2", &["-DFOREGROUND", "-f", &bench.path("apache.conf")]);
        let server = server.listens_on(ports[1]);
        Site { bench, server, program: ("apache2", Signal::SIGUSR1), ports, concurrency: CONCURRENCY }
    }

    /// What every site must survive.
    fn survives(self) {
        let workers = self.load();
        // Old workers finish while new ones begin, three times.
        std::thread::scope(|scope| {
            let load = scope.spawn(|| self.load());
            let mut seen = workers.clone();
            for _ in 0..3 {
                self.server.signal(self.program.0, self.program.1);
                // The next one comes when this one has happened.
                let mut fresh = BTreeSet::new();
                wait_until(
                    || format!("no new worker: {}", self.bench.story(&self.server)),
                    || {
                        fresh = self.ask(&self.ports[..1], 4);
                        !fresh.is_subset(&seen)
                    },
                );
                seen.extend(fresh);
            }
            load.join().unwrap();
        });
        // And the last of them bear a load of their own.
        self.serves();
    }

    /// Bears a load, and ends well.
    fn serves(self) {
        let workers = self.load();
        assert!(workers.len() >= 2, "one worker alone says nothing about forks: {workers:?}");
        let log = self.bench.world.log() + &self.server.said();
        for word in ["panicked", "PIN_LOCKED", "LOCKOUT"] {
            assert!(!log.contains(word), "{word}: {log}");
        }
        let Site { bench, server, program, .. } = self;
        server.signal(program.0, Signal::SIGTERM);
        server.ends();
        bench.world.assert_clean();
    }

    /// Handshakes with all sites; every one must succeed. The workers that answered.
    fn load(&self) -> BTreeSet<String> {
        self.ask(&self.ports, HANDSHAKES / self.ports.len())
    }

    /// So many handshakes with each of these ports, each one on a connection of its own and none resumed.
    #[track_caller]
    fn ask(&self, ports: &[u16], each: usize) -> BTreeSet<String> {
        let mut command = self.bench.world.command("curl");
        command.env("OPENSSL_CONF", "/dev/null").args(["--silent", "--show-error", "--http1.1", "--no-sessionid"]);
        command.args(["--parallel", "--parallel-immediate", "--parallel-max", &self.concurrency.to_string()]);
        command.args(["--fail", "--max-time", "60", "--cacert", "ca.crt"]);
        command.args(["-w", "%{http_code} %{num_connects} %{ssl_verify_result}\\n"]);
        for port in ports {
            command.arg(format!("https://localhost:{port}/page?[1-{each}]"));
        }
        let run = tests::world::Run::of(&mut command);
        let said = run.text();
        let count = said.lines().filter(|line| line.ends_with("200 1 0")).count();
        assert!(
            run.success() && count == each * ports.len(),
            "{count} of {}: {}\n{}",
            each * ports.len(),
            end_of(&run.stderr),
            self.bench.story(&self.server)
        );
        let log = self.bench.text("workers");
        said.lines().chain(log.lines()).filter_map(|line| line.strip_prefix("worker ")).map(str::to_owned).collect()
    }
}
