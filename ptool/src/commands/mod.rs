//! One function for each verb: options in, one call into the token's administration, a result for `output`.

mod attest;
mod backup;
mod certificate;
mod doctor;
mod export;
mod files;
mod generate;
mod import;
mod init;
mod key;
mod link;
mod list;
mod migrate;
mod object;
mod pcr;
mod rebuild;
mod remove;
mod residence;
mod settings;
mod shell;
mod snippet;
mod store;
mod token;
mod verify;

use ::token::{Config, Error};
use admin::{Admin, Pin, TokenSummary};

use crate::cli::{Cli, Command, Format, Hidden, SoPin, UnusedAuth, UserPin};
use crate::errors::{Failure, Status};
use crate::output::{self, note};
use crate::pins::{self, Given, SO_PIN, Surroundings, USER_PIN};

/// What every verb needs.
struct Context<'a> {
    config: Config,
    format: Format,
    around: &'a mut dyn Surroundings,
}

/// Does what the command line says.
pub(crate) fn run(cli: &Cli, around: &mut dyn Surroundings) -> Result<(), Failure> {
    let config = Config::from_environment().map(|config| match &cli.path {
        Some(path) => config.with_store_dir(path),
        None => config,
    });
    let config = match (config, &cli.command) {
        (Err(_), Command::Generate(options)) => return generate::generate(&options.what),
        (Err(error), Command::Doctor(options)) => return doctor::doctor(Err(error), cli.output, around, options),
        (config, _) => config.map_err(unreadable)?,
    };
    let mut context = Context { config, format: cli.output.unwrap_or_else(output::usual_format), around };
    match &cli.command {
        Command::Init(options) => init::init(&mut context, options),
        Command::Addtoken(options) => token::add(&mut context, options),
        Command::Initpin(options) => token::init_pin(&mut context, options),
        Command::Changepin(options) => token::change_pin(&mut context, options),
        Command::Addkey(options) => key::add(&mut context, options),
        Command::Import(options) => import::import(&mut context, options),
        Command::Link(options) => link::link(&mut context, options),
        Command::Export(options) => export::export(&mut context, options),
        Command::Srk(options) => export::srk(&context, options),
        Command::Wrap(options) => export::wrap(&mut context, options),
        Command::Backup(options) => backup::backup(&mut context, options),
        Command::Restore(options) => backup::restore(&mut context, options),
        Command::Persist(options) => residence::persist(&mut context, options),
        Command::Unpersist(options) => residence::unpersist(&mut context, options),
        Command::Listprimaries => list::primaries(&context),
        Command::Listtokens(options) => list::tokens(&context, options.pid),
        Command::Listobjects(options) => list::objects(&context, &options.label),
        Command::Verify(options) => verify::verify(&mut context, options),
        Command::Rmtoken(options) => remove::token(&context, &options.label),
        Command::Objdel(options) => remove::object(&context, options),
        Command::Pcr(verb) => pcr::run(&mut context, verb),
        Command::Attest(options) => attest::run(&mut context, options),
        Command::Csr(options) => certificate::csr(&mut context, options),
        Command::Selfsign(options) => certificate::self_sign(&mut context, options),
        Command::Addcert(options) => certificate::add(&mut context, options),
        Command::Config(options) => snippet::config(&context, options),
        Command::Rebuild(options) => rebuild::public(&mut context, options),
        Command::Doctor(options) => doctor::doctor(Ok(context.config), cli.output, context.around, options),
        Command::Shell(options) => shell::shell(&context, options),
        Command::Generate(options) => generate::generate(&options.what),
        Command::Lockout(options) => doctor::lockout(&mut context, options),
        Command::Objmod(options) => object::modify(&mut context, options),
        Command::Destroy(options) => store::destroy(&mut context, options),
        Command::Dbup => store::upgrade(&context),
        Command::Addemptytoken(options) => store::add_empty(&context, options),
        Command::Migrate(options) => migrate::migrate(&context, options),
    }
}

/// The store is not what is wrong, though the status is the same: what is set up.
fn unreadable(error: Error) -> Failure {
    match error {
        Error::Store(what) => {
            Failure::new(Status::Store, what, "TPM2_CRYPTOKI_CONFIG names another configuration file.")
        }
        error => error.into(),
    }
}

impl Context<'_> {
    fn admin(&self) -> Result<Admin, Failure> {
        Ok(Admin::open(self.config.clone())?)
    }
}

/// The token with this label. Looked up before a PIN is asked for, so that a misspelt label costs no typing.
fn find_token(admin: &Admin, label: &str) -> Result<TokenSummary, Failure> {
    let tokens = admin.tokens(None)?;
    let labels: Vec<String> = tokens.iter().map(|token| format!("{:?}", token.label)).collect();
    tokens.into_iter().find(|token| token.label == label).ok_or_else(|| {
        let advice = match labels.is_empty() {
            true => "The store has no tokens; `ptool addtoken` makes one.".to_owned(),
            false => format!("The store has {}.", labels.join(", ")),
        };
        Failure::general(format!("there is no token with the label {label:?}"), advice)
    })
}

/// The PIN with which keys are made and used, and what to call it when it is wrong. The security officer's is taken as it
/// is given; the token's administration says why it does not do.
fn key_user(
    context: &mut Context<'_>,
    token: &TokenSummary,
    user: &UserPin,
    so: &SoPin,
) -> Result<(Pin, &'static str), Failure> {
    let (user, so) = (Given::from(user), Given::from(so));
    Ok(match (token.login_required, so.is_some(), user.is_some()) {
        (_, true, true) => {
            return Err(Failure::usage("two PINs were given", "Give the user PIN alone: the keys are the user's."));
        }
        (_, true, false) => (Pin::So(pins::current(SO_PIN, so, context.around)?), SO_PIN.name),
        (true, false, _) => (Pin::User(pins::current(USER_PIN, user, context.around)?), USER_PIN.name),
        (false, false, true) => match pins::current(USER_PIN, user, context.around)?.is_empty() {
            true => (Pin::None, USER_PIN.name),
            // Who gives one thinks that the keys are guarded by it.
            false => {
                return Err(Failure::new(
                    Status::Pin,
                    "the token has no user PIN",
                    "Leave it out: whoever can read the store and use the TPM can use the keys.",
                ));
            }
        },
        (false, false, false) => (Pin::None, USER_PIN.name),
    })
}

/// tpm2_ptool wants the owner authorization again for a primary key that it makes at each use.
fn note_unused_auth(unused: &UnusedAuth) {
    if unused.hierarchy_auth.as_ref().is_some_and(|Hidden(value)| !value.is_empty()) {
        note("--hierarchy-auth is not needed here and was not used");
    }
}
