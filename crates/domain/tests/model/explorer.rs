//! Breadth-first over every state that can be reached, so that the first broken state found has a shortest story.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A way from one state to another.
pub struct Step<S, A> {
    /// What happens.
    pub action: A,
    /// Whether somebody must fail for it to happen. What must happen in the end may not depend on that.
    pub is_fault: bool,
    /// Where it leads.
    pub next: S,
}

/// What is explored.
pub trait World {
    type State: Copy + Eq + Hash;
    type Action: Copy + fmt::Display;
    /// What is not kept in a broken state.
    type Promise: Copy + fmt::Debug;

    fn start(&self) -> Self::State;
    fn steps(&self, state: &Self::State, into: &mut Vec<Step<Self::State, Self::Action>>);
    fn broken(&self, state: &Self::State) -> Option<Self::Promise>;
    fn is_end(&self, state: &Self::State) -> bool;
    /// What is broken where no end can be reached any more without a fault.
    fn stuck(&self) -> Self::Promise;
}

/// How a promise is broken.
pub struct Counterexample<P> {
    /// Which.
    pub promise: P,
    /// The shortest way there.
    pub story: Vec<String>,
}

/// What exploring brought.
pub struct Explored<W: World> {
    /// The states visited.
    pub states: Vec<W::State>,
    /// The first broken promise, if there is one.
    pub counterexample: Option<Counterexample<W::Promise>>,
}

/// Explores everything; stops at the first broken state.
pub fn explore<W: World>(world: &W) -> Explored<W> {
    let mut numbers: HashMap<W::State, u32, BuildHasherDefault<Fx>> = HashMap::default();
    let mut states = vec![world.start()];
    let mut origins: Vec<Option<(u32, W::Action)>> = vec![None];
    // Ways that need no fault, as (to, from).
    let mut ways: Vec<(u32, u32)> = Vec::new();
    numbers.insert(states[0], 0);
    let mut steps = Vec::new();
    let mut at = 0;
    while at < states.len() {
        let state = states[at];
        let from = at as u32;
        if let Some(promise) = world.broken(&state) {
            let counterexample = Some(Counterexample { promise, story: story::<W>(&origins, from) });
            return Explored { states, counterexample };
        }
        world.steps(&state, &mut steps);
        for step in steps.drain(..) {
            let number = *numbers.entry(step.next).or_insert_with(|| {
                states.push(step.next);
                origins.push(Some((from, step.action)));
                (states.len() - 1) as u32
            });
            if !step.is_fault && number != from {
                ways.push((number, from));
            }
        }
        at += 1;
    }
    let counterexample = first_without_end(world, &states, ways)
        .map(|stuck| Counterexample { promise: world.stuck(), story: story::<W>(&origins, stuck) });
    Explored { states, counterexample }
}

/// The first state from which no end can be reached by ways that need no fault.
fn first_without_end<W: World>(world: &W, states: &[W::State], mut ways: Vec<(u32, u32)>) -> Option<u32> {
    ways.sort_unstable();
    let mut ends: Vec<bool> = states.iter().map(|state| world.is_end(state)).collect();
    let mut open: Vec<u32> = (0..states.len() as u32).filter(|number| ends[*number as usize]).collect();
    while let Some(to) = open.pop() {
        let first = ways.partition_point(|way| way.0 < to);
        for (_, from) in ways[first..].iter().take_while(|way| way.0 == to) {
            if !std::mem::replace(&mut ends[*from as usize], true) {
                open.push(*from);
            }
        }
    }
    ends.iter().position(|ends| !ends).map(|number| number as u32)
}

fn story<W: World>(origins: &[Option<(u32, W::Action)>], end: u32) -> Vec<String> {
    let mut story = Vec::new();
    let mut at = end;
    while let Some((from, action)) = origins[at as usize] {
        story.push(action.to_string());
        at = from;
    }
    story.reverse();
    story
}

impl<P: fmt::Debug> fmt::Display for Counterexample<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, action) in self.story.iter().enumerate() {
            writeln!(f, "  {:>2}. {action}", line + 1)?;
        }
        write!(f, "      => {:?}", self.promise)
    }
}

/// The hash of rustc: states are a few dozen bytes, and the standard hash would take most of the time.
#[derive(Default)]
struct Fx(u64);

impl Fx {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Fx {
    fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(u64::from(byte));
    }

    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.add(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.add(word as u64);
    }

    fn finish(&self) -> u64 {
        // The low bits of a product depend on few bits; the map takes its bucket from those.
        self.0.rotate_left(26)
    }
}
