//! One answer for several ops that run side by side.

use std::pin::Pin;
use std::task::{Context, Poll};

use travertine_engine::contract::op::Pending;
use travertine_engine::contract::{Error, ErrorKind, Op, Result};

/// All answers, in order; or an error, once nothing is on its way any more. Ready if all are.
pub(super) fn all<T: Send + 'static>(ops: Vec<Op<T>>) -> Op<Vec<T>> {
    let places: Vec<_> = ops
        .into_iter()
        .map(|op| match op.try_ready() {
            Ok(answer) => Place::Answer(answer),
            Err(op) => Place::Waits(op),
        })
        .collect();
    let joined = Joined(places);
    match joined
        .0
        .iter()
        .any(|place| matches!(place, Place::Waits(_)))
    {
        true => Op::pending(joined),
        false => Op::ready(joined.answer()),
    }
}

enum Place<T> {
    Waits(Op<T>),
    Answer(Result<T>),
}

struct Joined<T>(Vec<Place<T>>);

impl<T> Joined<T> {
    /// Of several errors, that another writer took over is the one that says what to do.
    fn answer(self) -> Result<Vec<T>> {
        let mut answers = Vec::with_capacity(self.0.len());
        let mut worst: Option<Error> = None;
        for place in self.0 {
            let answer = match place {
                Place::Answer(answer) => answer,
                Place::Waits(op) => op.wait(),
            };
            match answer {
                Ok(answer) => answers.push(answer),
                Err(error) if worst.is_none() || error.kind() == ErrorKind::Fenced => {
                    worst = Some(error);
                }
                Err(_) => {}
            }
        }
        worst.map_or(Ok(answers), Err)
    }
}

impl<T: Send> Pending<Vec<T>> for Joined<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<T>>> {
        let mut pending = false;
        for place in &mut self.0 {
            if let Place::Waits(op) = place {
                match Pin::new(op).poll(context) {
                    Poll::Ready(answer) => *place = Place::Answer(answer),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            return Poll::Pending;
        }
        Poll::Ready(Self(std::mem::take(&mut self.0)).answer())
    }

    fn wait(self: Box<Self>) -> Result<Vec<T>> {
        self.answer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use travertine_engine::contract::op::{Promise, block_on};

    #[test]
    fn ready_ops_are_ready_together() {
        let joined = all(vec![Op::ok(1), Op::ok(2)]);
        assert!(joined.is_ready());
        assert_eq!(joined.wait().unwrap(), [1, 2]);
    }

    #[test]
    fn an_error_is_told_once_nothing_is_on_its_way_any_more() {
        for polled in [true, false] {
            let (first, one) = Promise::new();
            let (second, two) = Promise::<u32>::new();
            let joined = all(vec![one, Op::err(Error::full("x")), two]);
            std::thread::scope(|scope| {
                let waiter = scope.spawn(move || match polled {
                    true => block_on(joined),
                    false => joined.wait(),
                });
                first.fulfil(Ok(1));
                second.fulfil(Err(Error::fenced("y")));
                let error = waiter.join().unwrap().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Fenced);
            });
        }
    }
}
