//! nginx, Apache, HAProxy: workers that are forked from a master which has used the token already, under load and while they are
//! replaced; with OpenSSL's engine on this machine and with its provider in Debian trees.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use tests::skip::left_out;
use tests::world::Run;

use crate::bench::{Bench, Server, end_of, free_port, wait_until};
use crate::openssl;

/// The keys that servers prove themselves by.
const KEYS: [&str; 2] = ["rsa", "p256"];
/// Handshakes of a load, and how many of them at a time.
const HANDSHAKES: usize = 300;
const CONCURRENCY: usize = 8;

/// What no log may say after all that.
const BAD_WORDS: [&str; 7] = [
    "panicked",
    "PIN_LOCKED",
    "LOCKOUT",
    "CKR_GENERAL_ERROR",
    "CKR_DEVICE_ERROR",
    // Of workers: nginx, Apache.
    "exited on signal",
    "exit signal",
];

/// A web server with a site for each of [`KEYS`], and one that lets in only clients with a certificate.
struct Site<'a> {
    bench: &'a Bench,
    server: Server,
    /// Its program, the signal that makes it replace its workers, and the one that services are ended by.
    program: (&'static str, Signal, Signal),
    ports: Vec<u16>,
    strict: u16,
    /// Handshakes at a time.
    concurrency: usize,
    /// As many processes at least answer clients.
    workers: usize,
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

/// The configuration under which the token is asked first for everything but hashes.
#[cfg(feature = "clients")]
#[test]
fn nginx_provider_asked_first() {
    let Some(mut bench) = Bench::trixie() else { return };
    openssl::provider_asked_first(&mut bench, openssl::NO_DIGESTS);
    Site::nginx(&bench).survives();
}

/// What a worker finds when it is asked for the first time after it gave up root's rights: what its master would have found.
#[test]
fn who_gave_up_roots_rights_finds_the_store() {
    if !nix::unistd::geteuid().is_root() {
        return left_out("only root has rights to give up");
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

/// It brings an allocator of its own, and pkcs11-provider loads the module with RTLD_DEEPBIND.
#[cfg(feature = "clients")]
#[test]
fn haproxy_provider() {
    let Some(mut bench) = Bench::forky() else { return };
    openssl::provider(&mut bench);
    Site::haproxy(&bench).survives_between_loads();
}

/// What `ptool config --snippet PROGRAM` prints for a key. Of another module, the same lines are made here.
fn snippet(bench: &Bench, program: &str, label: &str) -> String {
    if !tests::peer::is_under_test() {
        return bench.world.ptool_ok(&["config", "--label=alpha", "--key-label", label, "--snippet", program]).text();
    }
    let uri = openssl::private(label);
    match program {
        "haproxy" => "bind :443 ssl crt /etc/haproxy/web.pem".to_owned(),
        "nginx" => format!("env OPENSSL_CONF;\n#   ssl_certificate_key \"engine:pkcs11:{uri}\";\n"),
        _ => format!("SSLEngine on\nSSLCertificateFile \"/etc/ssl/certs/web.crt\"\nSSLCertificateKeyFile \"{uri}\"\n"),
    }
}

/// Certificates, the keys' files, and a group of servers that may read the store. Ports for the sites.
fn prepare(bench: &Bench) -> Vec<u16> {
    for label in KEYS {
        bench.certify(label);
        if bench.is_tree() && tests::peer::is_under_test() {
            openssl::write_uri_file(bench, label);
        } else if bench.is_tree() {
            bench.write(&format!("{label}.pem"), snippet(bench, "uri-pem", label));
        }
    }
    bench.certify_file("visitor");
    bench.certify_file("stranger");
    bench.plain_sh("openssl req -x509 -new -key stranger.key -subj /CN=stranger -days 2 -out stranger.crt");
    if tests::peer::is_under_test() {
        // It wants to write wherever it reads.
        bench.sh(r#"chmod -R a+rwX "$TPM2_PKCS11_STORE""#);
    } else if nix::unistd::geteuid().is_root() {
        // As the documents tell it: root manages the store, a group reads it.
        bench.sh(r#"chgrp -R www-data "$TPM2_CRYPTOKI_STORE"; chmod 750 "$TPM2_CRYPTOKI_STORE"; chmod 640 "$TPM2_CRYPTOKI_STORE"/*; chmod 644 config.toml"#);
    }
    // The PIN is read by who starts the server. A worker that is somebody else has no business there.
    for name in ["pin", "openssl.cnf"].map(|name| bench.world.path(name)).iter().filter(|path| path.exists()) {
        std::fs::set_permissions(name, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    KEYS.map(|_| free_port()).to_vec()
}

impl Site<'_> {
    fn nginx(bench: &Bench) -> Site<'_> {
        let ports = prepare(bench);
        let user = if nix::unistd::geteuid().is_root() { "user www-data;\n" } else { "" };
        // What users paste, and what only tests set.
        let pasted = snippet(bench, "nginx", KEYS[0]);
        let mut variables: String =
            pasted.lines().filter(|line| line.starts_with("env ")).map(|line| format!("{line}\n")).collect();
        assert!(variables.contains("OPENSSL_CONF"), "{pasted}");
        for (name, _) in bench.environment() {
            let line = format!("env {name};\n");
            if name.starts_with("TPM2_") && !variables.contains(&line) {
                variables += &line;
            }
        }
        let home = bench.home();
        let strict = free_port();
        let site = |label: &str, port: u16, more: &str| {
            let key = if bench.is_tree() {
                format!("ssl_certificate_key {home}/{label}.pem;")
            } else {
                let pasted = snippet(bench, "nginx", label);
                let typed = pasted.lines().filter_map(|line| line.strip_prefix('#')).map(str::trim);
                typed.into_iter().find(|line| line.starts_with("ssl_certificate_key \"engine:")).unwrap().to_owned()
            };
            format!(
                "server {{\n listen 127.0.0.1:{port} ssl;\n ssl_certificate {home}/{label}.crt;\n {key}\n {more}\n \
                 location / {{ return 200 \"worker $pid\\n\"; }}\n}}\n"
            )
        };
        let mut servers: String = KEYS.iter().zip(&ports).map(|(label, port)| site(label, *port, "")).collect();
        servers += &site(KEYS[1], strict, &format!("ssl_client_certificate {home}/ca.crt; ssl_verify_client on;"));
        let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {home}/nginx-{name};\n"))
            .concat();
        bench.write(
            "nginx.conf",
            format!(
                "{user}{variables}daemon off;\nworker_processes 4;\npid {home}/nginx.pid;\nerror_log stderr info;\n\
                 events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{places}\
                 ssl_protocols TLSv1.2 TLSv1.3;\nssl_session_cache off;\nssl_session_tickets off;\nkeepalive_timeout 0;\n{servers}}}\n"
            ),
        );
        let server = bench.serve("nginx", "nginx", &["-e", "stderr", "-c", &bench.path("nginx.conf")]);
        let server = server.listens_on(ports[1]);
        Site {
            bench,
            server,
            program: ("nginx", Signal::SIGHUP, Signal::SIGQUIT),
            ports,
            strict,
            concurrency: CONCURRENCY,
            workers: 2,
        }
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
        let strict = free_port();
        let site = |label: &str, port: u16, more: &str| {
            let pasted =
                snippet(bench, "apache", label).replace("/etc/ssl/certs/web.crt", &format!("{home}/{label}.crt"));
            format!("Listen 127.0.0.1:{port}\n<VirtualHost 127.0.0.1:{port}>\n{pasted}{more}</VirtualHost>\n")
        };
        let mut sites: String = KEYS.iter().zip(&ports).map(|(label, port)| site(label, *port, "")).collect();
        sites += &site(KEYS[1], strict, &format!("SSLCACertificateFile {home}/ca.crt\nSSLVerifyClient require\n"));
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
        Site {
            bench,
            server,
            program: ("apache2", Signal::SIGUSR1, Signal::SIGWINCH),
            ports,
            strict,
            concurrency: CONCURRENCY,
            workers: 2,
        }
    }

    /// A worker of many threads, in whose place another comes at each reload.
    #[cfg(feature = "clients")]
    fn haproxy(bench: &Bench) -> Site<'_> {
        let ports = prepare(bench);
        let home = bench.home();
        let user = if nix::unistd::geteuid().is_root() { "user www-data\ngroup www-data\n" } else { "" };
        let strict = free_port();
        let site = |label: &str, port: u16, more: &str| {
            // The name of the file with the key is that of the certificate's, and `.key`.
            let [certificate, key] = ["crt", "pem"].map(|end| bench.text(&format!("{label}.{end}")));
            bench.write(&format!("site-{port}.pem"), certificate);
            bench.write(&format!("site-{port}.pem.key"), key);
            let pasted = snippet(bench, "haproxy", label);
            let bind = pasted.lines().find(|line| line.trim().starts_with("bind ")).unwrap();
            let bind = bind.replace(":443", &format!("127.0.0.1:{port}"));
            let bind = bind.replace("/etc/haproxy/web.pem", &format!("{home}/site-{port}.pem"));
            format!(
                "frontend site-{port}\n{bind} {more}\n \
                 http-request return status 200 content-type text/plain lf-string \"worker %pid\\n\"\n"
            )
        };
        let mut sites: String = KEYS.iter().zip(&ports).map(|(label, port)| site(label, *port, "")).collect();
        sites += &site(KEYS[1], strict, &format!("ca-file {home}/ca.crt verify required"));
        bench.write(
            "haproxy.cfg",
            format!(
                "global\n{user}nbthread 4\nstats socket {home}/haproxy.sock mode 600 level admin expose-fd listeners\ntune.ssl.cachesize 0\nssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets\n\
                 defaults\nmode http\noption httpclose\ntimeout client 60s\ntimeout server 60s\ntimeout connect 60s\n{sites}"
            ),
        );
        let server = bench.serve("haproxy", "haproxy", &["-W", "-f", &bench.path("haproxy.cfg")]);
        let server = server.listens_on(ports[1]);
        Site {
            bench,
            server,
            program: ("haproxy", Signal::SIGUSR2, Signal::SIGUSR1),
            ports,
            strict,
            concurrency: CONCURRENCY,
            workers: 1,
        }
    }

    /// What every site must survive.
    fn survives(self) {
        let workers = self.load();
        self.lets_in_whom_it_knows();
        self.is_left_alone();
        // Old workers finish while new ones begin, three times, and clients come all the while.
        let reloading = AtomicBool::new(true);
        std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                while reloading.load(Ordering::Relaxed) {
                    self.load();
                }
            });
            let end = OnDrop(|| reloading.store(false, Ordering::Relaxed));
            let mut seen = workers.clone();
            for _ in 0..3 {
                assert!(!load.is_finished(), "nobody comes any more: {}", self.bench.story(&self.server));
                self.server.signal(self.program.0, self.program.1);
                // The next one comes when this one has happened.
                let mut fresh = BTreeSet::new();
                wait_until(
                    || format!("no new worker: {}", self.bench.story(&self.server)),
                    || {
                        fresh = self.ask(&self.ports[..1], 4, &[]);
                        !fresh.is_subset(&seen)
                    },
                );
                seen.extend(fresh);
            }
            assert!(!load.is_finished(), "nobody comes any more: {}", self.bench.story(&self.server));
            drop(end);
            load.join().unwrap();
        });
        // And the last of them bear a load of their own.
        self.serves();
    }

    /// The same, reloaded while nobody comes: HAProxy's old worker ends some handshakes that it has begun.
    #[cfg(feature = "clients")]
    fn survives_between_loads(self) {
        let mut seen = self.load();
        self.lets_in_whom_it_knows();
        self.is_left_alone();
        for _ in 0..3 {
            self.server.signal(self.program.0, self.program.1);
            let mut workers = BTreeSet::new();
            wait_until(
                || format!("no new worker: {}", self.bench.story(&self.server)),
                || {
                    let run = Run::of(&mut self.curl(&self.ports[..1], 1, "ca.crt"));
                    workers =
                        run.text().lines().filter_map(|line| line.strip_prefix("worker ")).map(str::to_owned).collect();
                    run.success() && !workers.is_subset(&seen)
                },
            );
            seen.extend(workers);
            self.load();
        }
        self.serves();
    }

    /// Bears a load, and ends well.
    fn serves(self) {
        let workers = self.load();
        assert!(workers.len() >= self.workers, "one worker alone says nothing about forks: {workers:?}");
        let Site { bench, server, program, .. } = self;
        server.signal(program.0, program.2);
        let log = bench.world.log() + &server.ends();
        for word in BAD_WORDS {
            assert!(!log.contains(word), "{word}: {log}");
        }
        bench.world.assert_clean();
        // Nobody has tried a PIN that is not one.
        assert_eq!(bench.world.tpm.failed_authorizations(), 0, "{}", bench.world.log());
    }

    /// The site for clients with a certificate.
    fn lets_in_whom_it_knows(&self) {
        for version in ["1.2", "1.3"] {
            openssl::gets_a_page(self.bench, &self.server, self.strict, version, "-cert visitor.crt -key visitor.key");
            for who in ["", "-cert stranger.crt -key stranger.key"] {
                let refused = openssl::client(self.bench, self.strict, version, &format!("-CAfile ca.crt {who}"));
                assert!(!refused.text().contains(" 200 OK"), "TLS {version} {who}: {refused:?}");
            }
        }
    }

    /// Clients that do not like its certificate break their handshakes off, in the midst of it. Anybody can do that.
    fn is_left_alone(&self) {
        for version in ["1.2", "1.3"] {
            let mut command = self.curl(&self.ports, 20, "stranger.crt");
            let run = Run::of(command.args(["--tlsv1.2", "--tls-max", version]));
            let said = run.text();
            // X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
            let count = said.lines().filter(|line| line.ends_with("000 1 20")).count();
            assert!(!run.success() && count == 20 * self.ports.len(), "{run:?}\n{}", self.bench.story(&self.server));
            self.ask(&self.ports, 20, &["--tls-max", version]);
        }
    }

    /// Handshakes with all sites, in both versions of TLS; every one must succeed. The workers that answered.
    fn load(&self) -> BTreeSet<String> {
        let each = HANDSHAKES / 2 / self.ports.len();
        let mut workers = self.ask(&self.ports, each, &["--tls-max", "1.2"]);
        workers.extend(self.ask(&self.ports, each, &["--tlsv1.3"]));
        workers
    }

    /// So many handshakes with each of these ports, each one on a connection of its own and none resumed.
    #[track_caller]
    fn ask(&self, ports: &[u16], each: usize, options: &[&str]) -> BTreeSet<String> {
        let run = Run::of(self.curl(ports, each, "ca.crt").args(options));
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

    /// Many clients at a time, who trust this authority.
    fn curl(&self, ports: &[u16], each: usize, authority: &str) -> Command {
        let mut command = self.bench.world.command("curl");
        command.env("OPENSSL_CONF", "/dev/null").args(["--silent", "--show-error", "--http1.1", "--no-sessionid"]);
        command.args(["--parallel", "--parallel-immediate", "--parallel-max", &self.concurrency.to_string()]);
        command.args(["--fail", "--max-time", "60", "--cacert", authority]);
        command.args(["-w", "%{http_code} %{num_connects} %{ssl_verify_result}\\n"]);
        for port in ports {
            command.arg(format!("https://localhost:{port}/page?[1-{each}]"));
        }
        command
    }
}

/// Does something at the end of a scope, however that comes.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
