//! The time of each case.

use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    for case in bench_hot_path::cases() {
        criterion.bench_function(case.name, |bencher| bencher.iter(|| case.run()));
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
