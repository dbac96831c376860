//! The options of a Postgres sink.

use std::time::Duration;

use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

use crate::{
    error::{Error, ErrorKind, Result},
    options::Taker,
};

/// `WITH (connector = 'postgres', …)`.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Where, and as whom. It does not print its password.
    pub config: Config,
    pub schema: String,
    pub table: String,
    /// Whether a table that is not there is made.
    pub create_table: bool,
}

/// A server that does not answer is given up after so long, and tried again.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A server that vanished without a word is missed after so long.
const SILENCE_MAX: Duration = Duration::from_secs(30);

impl PostgresOptions {
    pub fn from_options(options: &mut Taker) -> Result<PostgresOptions> {
        let bad = |message: &str| Error::new(ErrorKind::InvalidParameterValue, message);
        let url = options.text("url");
        let host = options.text("host");
        let port = options.parse::<u16>("port", "a number up to 65535")?;
        let (user, password, database) = (options.text("user"), options.text("password"), options.text("database"));
        let parts = [&host, &user, &database].iter().any(|part| part.is_some()) || port.is_some();
        let mut config = match url {
            Some(_) if parts => {
                return Err(bad("option \"url\" says host, port, user and database: leave those options out"));
            }
            // What the parser has to say may quote the password.
            Some(url) => url.parse::<Config>().map_err(|_| {
                bad("option \"url\" is no URL of a database").hint("It looks like postgres://user@host:5432/database.")
            })?,
            None => {
                let mut config = Config::new();
                config.host(host.as_deref().unwrap_or("localhost")).port(port.unwrap_or(5432));
                if let Some(user) = user {
                    config.user(user);
                }
                if let Some(database) = database {
                    config.dbname(database);
                }
                config
            }
        };
        if config.get_password().is_some() {
            return Err(bad("option \"url\" holds a password, and a URL is shown to people")
                .hint("Give it as password = '…', and leave it out of the URL."));
        }
        if let Some(password) = password {
            config.password(password);
        }
        if config.get_user().is_none() {
            return Err(bad("a sink to postgres needs option \"user\", or a url that names one"));
        }
        if config.get_ssl_mode() == SslMode::Require {
            return Err(Error::unsupported("sslmode=require of a sink to postgres")
                .hint("Go over a network that is private, or through a tunnel, with sslmode=disable."));
        }
        config.ssl_mode(SslMode::Disable).connect_timeout(CONNECT_MAX).application_name("tidemark");
        config.keepalives_idle(SILENCE_MAX).tcp_user_timeout(SILENCE_MAX);
        Ok(PostgresOptions {
            config,
            table: options.required("table")?,
            schema: options.text("schema").unwrap_or_else(|| "public".to_string()),
            create_table: options.boolean("create_table", true)?,
        })
    }

    /// The server, as errors say it.
    pub fn place(&self) -> String {
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => format!("{host}:{port}"),
            #[cfg(unix)]
            Some(Host::Unix(path)) => format!("{}:{port}", path.display()),
            None => format!("port {port}"),
        }
    }
}
