//! A floor that changes nothing and notes which way recovery went.

use std::sync::{Arc, Mutex, PoisonError};

use super::marks::{Branch, Marks};
use crate::contract::{Epoch, Op, Position, Store, StreamState, Vector};
use crate::forward;

/// Passes every call to the store below.
#[derive(Debug)]
pub(super) struct Watch {
    below: Arc<dyn Store>,
    marks: Arc<Mutex<Marks>>,
    fenced: Mutex<Vec<StreamState>>,
}

impl Watch {
    pub(super) fn new(below: Arc<dyn Store>, marks: Arc<Mutex<Marks>>) -> Self {
        Self {
            below,
            marks,
            fenced: Mutex::default(),
        }
    }

    fn note(&self, branch: Branch) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.note(branch);
    }
}

impl Store for Watch {
    forward!(below: store read commit root scan reclaim status close);

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        let answer = self.below.fence(epoch).wait();
        if let Ok(states) = &answer
            && epoch.number > 0
        {
            for state in states
                .iter()
                .filter(|state| state.end.position > Position::START)
            {
                self.note(if state.clean {
                    Branch::OpenedClean
                } else if state.durable == state.end.position {
                    Branch::OpenedWhole
                } else {
                    Branch::OpenedUnproven
                });
            }
            *self.fenced.lock().unwrap_or_else(PoisonError::into_inner) = states.clone();
        }
        Op::ready(answer)
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        let states =
            std::mem::take(&mut *self.fenced.lock().unwrap_or_else(PoisonError::into_inner));
        for (stream, end) in &vector {
            let cuts =
                |state: &StreamState| state.stream == *stream && state.end.position > end.position;
            if states.iter().any(cuts) {
                self.note(Branch::CutValid);
            }
        }
        self.below.adopt(epoch, vector)
    }
}
