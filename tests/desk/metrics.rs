//! What a monitor tells over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// All figures, as Prometheus reads them. Whoever serves ends a connection that takes long: on a slow
/// machine it is asked again.
pub(crate) fn metrics(port: u64) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port as u16))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        write!(stream, "GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let whole = |text: &String| text.ends_with("# EOF\n") && text.contains("travertine_floor_up{");
    let mut answers = (0..30).filter_map(|_| ask().ok());
    let answer = answers.find(whole).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
