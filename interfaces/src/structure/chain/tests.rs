use std::collections::VecDeque;

use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::{Env, ErrorKind};

use super::*;
use crate::block::Tracker;
use crate::testing::{Nothing, id, now};

fn begun() -> (Chain, Tracker<Nothing>) {
    let chain = Chain::new(id("header"), id("c"), DATA);
    let mut blocks = Tracker::new(Nothing, Env::system().random);
    blocks.insert(chain.header_block());
    (chain, blocks)
}

fn numbers(range: std::ops::Range<u64>) -> Vec<Value> {
    range.map(|number| Value::of(&number).unwrap()).collect()
}

fn all(chain: &Chain, blocks: &Tracker<Nothing>, direction: Direction) -> Vec<Value> {
    let mut walk = chain.walk(blocks, None, direction);
    let mut found = Vec::new();
    while let Some((place, entry)) = now(walk.next()).unwrap() {
        assert_eq!(now(chain.at(blocks, &place)).unwrap(), entry);
        found.push(entry);
    }
    found
}

fn there(blocks: &Tracker<Nothing>) -> usize {
    let changes = blocks.changes();
    let there = changes
        .ids()
        .filter(|id| matches!(changes.now(id), Some(Some(_))));
    there.count()
}

#[test]
fn one_more_than_a_block_takes_begins_the_next() {
    let (chain, mut blocks) = begun();
    assert_eq!(now(chain.add(&mut blocks, &[])).unwrap(), None);
    assert_eq!(there(&blocks), 1, "the header alone");
    for number in 0..33 {
        let place = now(chain.add(&mut blocks, &numbers(number..number + 1))).unwrap();
        assert_eq!(place.unwrap().index, number as usize % ENTRIES);
    }
    assert_eq!(there(&blocks), 3);
    assert_eq!(all(&chain, &blocks, Direction::Forward), numbers(0..33));
}

#[test]
fn many_at_once_are_linked_each_to_the_one_before_it() {
    let (chain, mut blocks) = begun();
    let link = |new: Block, before: &Block| {
        assert_eq!(before.list(LIST).unwrap().len(), ENTRIES, "full");
        let digest = Value::bytes(&before.digest());
        new.with("hash", digest)
    };
    now(chain.add_linked(&mut blocks, &numbers(0..100), link)).unwrap();
    let mut node = now(chain.end(&blocks, Direction::Forward))
        .unwrap()
        .unwrap();
    for at in 0.. {
        let Some(next) = named(&node, NEXT).unwrap() else {
            assert_eq!(at, 3);
            break;
        };
        let next = now(read(&blocks, &next)).unwrap();
        assert_eq!(named(&next, PRIOR).unwrap().as_ref(), Some(node.id()));
        // The hash is of the block as it was before it knew its next.
        let mut before = (*node).clone();
        Operation::remove(NEXT).apply(&mut before).unwrap();
        let hash = next.one("hash").unwrap().as_byte_string().unwrap();
        assert_eq!(hash, before.digest());
        node = next;
    }
    assert_eq!(
        all(&chain, &blocks, Direction::Back),
        numbers(0..100).into_iter().rev().collect::<Vec<_>>()
    );
}

#[test]
fn more_than_there_are_empties_it_and_it_fills_again() {
    let (chain, mut blocks) = begun();
    assert!(now(chain.pop(&mut blocks, 3)).unwrap().is_empty());
    now(chain.add(&mut blocks, &numbers(0..70))).unwrap();
    assert_eq!(now(chain.pop(&mut blocks, 0)).unwrap(), []);
    assert_eq!(now(chain.pop(&mut blocks, 10)).unwrap(), numbers(60..70));
    assert_eq!(now(chain.dequeue(&mut blocks, 40)).unwrap(), numbers(0..40));
    assert_eq!(now(chain.pop(&mut blocks, 99)).unwrap(), numbers(40..60));
    assert!(all(&chain, &blocks, Direction::Forward).is_empty());
    assert_eq!(there(&blocks), 2, "one empty block");
    now(chain.add(&mut blocks, &numbers(0..40))).unwrap();
    assert_eq!(now(chain.dequeue(&mut blocks, 99)).unwrap(), numbers(0..40));
}

#[test]
fn a_place_that_is_none_is_refused() {
    let (chain, mut blocks) = begun();
    let place = now(chain.add(&mut blocks, &numbers(0..3)))
        .unwrap()
        .unwrap();
    let new = Value::text("new");
    now(chain.replace(&mut blocks, &place, new.clone())).unwrap();
    assert_eq!(now(chain.at(&blocks, &place)).unwrap(), new);
    let beyond = Place {
        index: 3,
        ..place.clone()
    };
    let nowhere = Place {
        block: BlockId::new("nowhere").unwrap(),
        index: 0,
    };
    for place in [beyond, nowhere] {
        let error = now(chain.at(&blocks, &place)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let error = now(chain.replace(&mut blocks, &place, new.clone())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let mut walk = chain.walk(&blocks, Some(place), Direction::Forward);
        assert_eq!(now(walk.next()).unwrap_err().kind(), ErrorKind::Invalid);
    }
    let mut walk = chain.walk(&blocks, Some(place.clone()), Direction::Back);
    assert_eq!(now(walk.next()).unwrap().unwrap(), (place, new));
    assert_eq!(now(walk.next()).unwrap().unwrap().1, numbers(1..2)[0]);
}

#[test]
fn a_chain_is_what_a_queue_in_memory_is() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let (chain, mut blocks) = begun();
        let (mut model, mut next) = (VecDeque::new(), 0);
        for _ in 0..60 {
            let most = if rng.below(4) == 0 { 200 } else { 20 };
            let count = rng.below(most);
            match rng.below(4) {
                0 | 1 => {
                    let new = numbers(next..next + count);
                    next += count;
                    model.extend(new.iter().cloned());
                    let mut section = blocks.section();
                    now(chain.add(&mut section, &new)).unwrap();
                    section.commit();
                }
                2 => {
                    let left = model.len().saturating_sub(count as usize);
                    let wanted: Vec<_> = model.drain(left..).collect();
                    assert_eq!(now(chain.pop(&mut blocks, count as usize)).unwrap(), wanted);
                }
                _ => {
                    let some = model.len().min(count as usize);
                    let wanted: Vec<_> = model.drain(..some).collect();
                    assert_eq!(
                        now(chain.dequeue(&mut blocks, count as usize)).unwrap(),
                        wanted
                    );
                }
            }
            let forward = all(&chain, &blocks, Direction::Forward);
            assert_eq!(forward, Vec::from(model.clone()), "seed {seed}");
            let mut back = all(&chain, &blocks, Direction::Back);
            back.reverse();
            assert_eq!(back, forward);
            assert!(
                there(&blocks) <= 3 + model.len() / ENTRIES + 1,
                "nothing is left lying"
            );
        }
    }
}
