//! [`RedisConnection`]: a connection to a server, for commands of the test itself.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest time until a server answers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// A reply of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A line such as `OK`.
    Status(String),
    /// An error, with its code.
    Error(String),
    /// A number.
    Integer(i64),
    /// A value.
    Bytes(Vec<u8>),
    /// No value.
    Nil,
    /// A list.
    List(Vec<Reply>),
}

impl Reply {
    /// Returns the text of a status, number or value.
    ///
    /// # Errors
    /// The text of an error; `InvalidData` for any other reply.
    pub fn text(self) -> io::Result<String> {
        match self {
            Self::Status(text) => Ok(text),
            Self::Integer(number) => Ok(number.to_string()),
            Self::Bytes(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Self::Error(text) => Err(io::Error::other(text)),
            Self::Nil | Self::List(_) => Err(unexpected(&self)),
        }
    }

    /// Returns the values of a list.
    ///
    /// # Errors
    /// As for [`text`](Self::text), of the reply or of one of its values.
    pub fn texts(self) -> io::Result<Vec<String>> {
        match self {
            Self::List(replies) => replies.into_iter().map(Self::text).collect(),
            Self::Error(text) => Err(io::Error::other(text)),
            _ => Err(unexpected(&self)),
        }
    }
}

/// A connection that speaks the protocol's version 2, one command at a time.
#[derive(Debug)]
pub struct RedisConnection {
    stream: BufReader<TcpStream>,
}

impl RedisConnection {
    /// Connects to a server.
    ///
    /// # Errors
    /// When it cannot be reached within a second.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends one command and returns its reply, which may be an error.
    ///
    /// # Errors
    /// When the connection ends, or no reply comes within five seconds.
    pub fn ask<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments.iter().map(AsRef::as_ref) {
            request.extend(format!("${}\r\n", argument.len()).into_bytes());
            request.extend([argument, b"\r\n"].concat());
        }
        self.stream.get_mut().write_all(&request)?;
        self.read()
    }

    fn read(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (kind, rest) = line.trim_end().split_at_checked(1).ok_or_else(|| unexpected(&line))?;
        let number = || rest.parse::<i64>().map_err(|_| unexpected(&line));
        match kind {
            "+" => Ok(Reply::Status(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => Ok(Reply::Integer(number()?)),
            "$" => {
                let Ok(length) = usize::try_from(number()?) else { return Ok(Reply::Nil) };
                let mut bytes = vec![0; length + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Ok(Reply::Bytes(bytes))
            }
            "*" => {
                let Ok(length) = usize::try_from(number()?) else { return Ok(Reply::Nil) };
                Ok(Reply::List((0..length).map(|_| self.read()).collect::<io::Result<_>>()?))
            }
            _ => Err(unexpected(&line)),
        }
    }
}

fn unexpected(reply: &impl std::fmt::Debug) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected reply: {reply:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RedisServer;

    #[test]
    fn every_kind_of_reply_is_read_whole() {
        let server = RedisServer::start().unwrap();
        let mut connection = server.connect().unwrap();
        let mut ask = |arguments: &[&str]| connection.ask(arguments).unwrap();
        assert_eq!(ask(&["SET", "key", "two\r\nlines"]), Reply::Status("OK".to_owned()));
        assert_eq!(
            ask(&["MGET", "key", "none"]),
            Reply::List(vec![Reply::Bytes(b"two\r\nlines".to_vec()), Reply::Nil])
        );
        assert_eq!(ask(&["STRLEN", "key"]), Reply::Integer(10));
        assert!(ask(&["INFO", "server"]).text().unwrap().lines().count() > 10);
        assert!(ask(&["HGET", "key", "field"]).text().unwrap_err().to_string().starts_with("WRONGTYPE"));
        assert_eq!(ask(&["KEYS", "*"]).texts().unwrap(), ["key"]);
    }
}
