//! What the demo is doing, how far it is, and how long each step took.

use std::time::Instant;

/// The steps of the demo, counted and timed.
pub struct Phases {
    total: usize,
    started: usize,
    all: Instant,
    step: Instant,
}

impl Phases {
    /// Starts counting towards `total` steps.
    pub fn new(total: usize) -> Self {
        Self { total, started: 0, all: Instant::now(), step: Instant::now() }
    }

    /// Names the next step.
    pub fn start(&mut self, title: &str) {
        self.started += 1;
        self.step = Instant::now();
        println!("\n[{}/{}] {title}", self.started, self.total);
    }

    /// Says how long the step took.
    pub fn end(&self) {
        println!("      done in {:.1} s", self.step.elapsed().as_secs_f64());
    }

    /// How long all steps took together, in seconds.
    pub fn seconds(&self) -> f64 {
        self.all.elapsed().as_secs_f64()
    }
}
