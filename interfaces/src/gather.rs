//! Several answers as one: ready if all are, and then with no place to wait in.

use std::pin::Pin;
use std::task::{Context, Poll};

use travertine_engine::contract::{Op, Pending, Result};

/// The answers of all `ops`, in their order; the first error, if there is one.
pub(crate) fn gather<T: Send + 'static>(ops: Vec<Op<T>>) -> Op<Vec<T>> {
    if ops.iter().all(Op::is_ready) {
        let mut values = Vec::with_capacity(ops.len());
        for op in ops {
            match op.wait() {
                Ok(value) => values.push(value),
                Err(error) => return Op::err(error),
            }
        }
        return Op::ok(values);
    }
    Op::pending(Gathered(ops.into_iter().map(Part::Coming).collect()))
}

struct Gathered<T>(Vec<Part<T>>);

enum Part<T> {
    Coming(Op<T>),
    Here(Option<T>),
}

impl<T: Send> Pending<Vec<T>> for Gathered<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<T>>> {
        let mut all = true;
        for part in &mut self.0 {
            if let Part::Coming(op) = part {
                match Pin::new(op).poll(context) {
                    Poll::Ready(Ok(value)) => *part = Part::Here(Some(value)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => all = false,
                }
            }
        }
        if !all {
            return Poll::Pending;
        }
        let here = self.0.iter_mut().filter_map(|part| match part {
            Part::Here(value) => value.take(),
            Part::Coming(_) => None,
        });
        Poll::Ready(Ok(here.collect()))
    }

    fn wait(self: Box<Self>) -> Result<Vec<T>> {
        let answers = self.0.into_iter().filter_map(|part| match part {
            Part::Here(value) => value.map(Ok),
            Part::Coming(op) => Some(op.wait()),
        });
        answers.collect()
    }
}

#[cfg(test)]
mod tests {
    use travertine_engine::contract::{Error, Promise};

    use super::*;

    #[test]
    fn answers_come_in_the_order_of_the_ops_whenever_they_come() {
        let (first, late) = Promise::new();
        let op = gather(vec![late, Op::ok(2), Op::ok(3)]);
        assert!(!op.is_ready());
        first.fulfil(Ok(1));
        assert_eq!(op.wait().unwrap(), [1, 2, 3]);
        assert!(gather(vec![Op::ok(1), Op::ok(2)]).is_ready());
        assert!(gather::<u8>(Vec::new()).is_ready());
    }

    #[test]
    fn one_error_is_the_error_of_all() {
        let (first, late) = Promise::new();
        let op = gather(vec![late, Op::err(Error::invalid("no"))]);
        first.fulfil(Ok(1));
        assert!(op.wait().is_err());
    }
}
