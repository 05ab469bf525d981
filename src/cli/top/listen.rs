//! Events of a monitor, over plain HTTP.
//!
//! It asks once and reads lines for as long as they come. It believes nothing: lines and headers have
//! bounds, and silence has an end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::cli::Failure;
use crate::contract::Error;

/// Longest wait for a connection, and for the next event.
const PATIENCE: Duration = Duration::from_secs(15);
const LINE_MAX: u64 = 16 << 20;
const HEADERS_MAX: usize = 100;

/// The address in what the command line names; `None` if that is a file.
pub(super) fn address(text: &str) -> Result<Option<String>, Failure> {
    if text.starts_with("https://") {
        return Err(Failure::wrong(
            "a monitor speaks plain HTTP; begin the address with http://",
        ));
    }
    let bare = text.strip_prefix("http://");
    let address = bare.unwrap_or(text).split('/').next().unwrap_or_default();
    let port = address
        .rsplit_once(':')
        .map(|(host, port)| (host, port.parse::<u16>()));
    match (bare, port) {
        (_, Some((host, Ok(_)))) if !host.is_empty() => Ok(Some(address.to_owned())),
        (Some(_), _) => Err(Failure::wrong(format!(
            "{text:?} names no host with a port, like http://127.0.0.1:9464/"
        ))),
        (None, _) => Ok(None),
    }
}

/// Events as they come.
#[derive(Debug)]
pub(super) struct Listener {
    address: String,
    lines: BufReader<TcpStream>,
}

impl Listener {
    pub(super) fn connect(address: &str) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            let what = format!("no monitor is heard on {address}: {error}");
            Failure::Error(Error::unavailable(what).caused_by(error))
        };
        let mut stream = None;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for place in address.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&place, PATIENCE) {
                Ok(connected) => {
                    stream = Some(connected);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let mut stream = stream.ok_or(last).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        // By the older version the answer comes as it is, and ends where the connection does.
        let ask =
            format!("GET /events HTTP/1.0\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
        stream.write_all(ask.as_bytes()).map_err(failed)?;
        let mut listener = Self {
            address: address.to_owned(),
            lines: BufReader::new(stream),
        };
        listener.head()?;
        Ok(listener)
    }

    /// The next event; `None` if there will be no more.
    pub(super) fn next(&mut self) -> Result<Option<String>, Failure> {
        while let Some(line) = self.line()? {
            if let Some(event) = line.strip_prefix("data:") {
                return Ok(Some(event.trim_start().to_owned()));
            }
        }
        Ok(None)
    }

    /// Reads the head of the answer, which must be good.
    fn head(&mut self) -> Result<(), Failure> {
        let status = self.line()?.unwrap_or_default();
        let mut events = false;
        for _ in 0..HEADERS_MAX {
            let line = self.line()?.unwrap_or_default().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            events |= line.starts_with("content-type:") && line.contains("text/event-stream");
        }
        if events && status.split(' ').nth(1) == Some("200") {
            return Ok(());
        }
        let mut said = self.line()?.unwrap_or_default();
        said.truncate(said.floor_char_boundary(200));
        let what = format!(
            "{} tells no events, but {:?} {said:?}: is it a monitor of this version?",
            self.address, status
        );
        Err(Error::unavailable(what).into())
    }

    fn line(&mut self) -> Result<Option<String>, Failure> {
        let mut line = Vec::new();
        let read = self
            .lines
            .by_ref()
            .take(LINE_MAX)
            .read_until(b'\n', &mut line);
        let fault = |what: &str| {
            let what = format!("{}: {what}", self.address);
            Failure::from(Error::unavailable(what))
        };
        match read {
            Ok(0) => Ok(None),
            Ok(_) if line.ends_with(b"\n") => {
                let text =
                    String::from_utf8(line).map_err(|_| fault("it tells what is no text"))?;
                Ok(Some(text.trim_end().to_owned()))
            }
            Ok(read) if read as u64 == LINE_MAX => Err(fault("it tells too much at once")),
            // It ended within a line.
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(fault("it tells nothing any more"))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Ok(None),
                _ => Err(fault(&error.to_string())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_from_a_file() {
        let of = |text: &str| address(text).unwrap();
        for text in [
            "127.0.0.1:9464",
            "http://127.0.0.1:9464",
            "http://127.0.0.1:9464/events",
        ] {
            assert_eq!(of(text).as_deref(), Some("127.0.0.1:9464"), "{text}");
        }
        assert_eq!(of("[::1]:9464").as_deref(), Some("[::1]:9464"));
        assert_eq!(of("localhost:1").as_deref(), Some("localhost:1"));
        for text in ["stack.toml", "a/b:1/stack.toml", "stack", "a:b", "x:99999"] {
            assert_eq!(of(text), None, "{text}");
        }
        for text in ["https://127.0.0.1:1/", "http://nowhere/", "http://:1/"] {
            address(text).unwrap_err();
        }
    }
}
