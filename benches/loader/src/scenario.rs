//! What is measured: which model, over what kind of network.

use std::time::Duration;

use clap::ValueEnum;

use crate::model::Shape;
use crate::server::Manners;

const MIB: u64 = 1 << 20;

/// One model over one kind of network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// One file of 4 GiB.
    File,
    /// 16 files of 256 MiB.
    Shards,
    /// 2,000 files of 10 to 100 kB.
    Small,
    /// The same 2,000 files, 50 ms before each answer.
    SmallLatency,
    /// One file of 1 GiB at 50 MiB/s on each connection, 50 ms before each answer.
    Slow,
}

impl Scenario {
    /// What it is called in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::File => "one file of 4 GiB",
            Self::Shards => "16 files of 256 MiB",
            Self::Small => "2,000 files of 10 to 100 kB",
            Self::SmallLatency => "2,000 files of 10 to 100 kB, 50 ms before each answer",
            Self::Slow => "one file of 1 GiB, 50 MiB/s per connection, 50 ms before each answer",
        }
    }

    /// The model that is downloaded.
    pub fn shape(self) -> Shape {
        let weights = |name, file, files, size| Shape { name, file, files, sizes: size..=size };
        match self {
            Self::File => weights("file", "model.safetensors", 1, 4096 * MIB),
            Self::Shards => weights("shards", "model-{}-of-00016.safetensors", 16, 256 * MIB),
            Self::Small | Self::SmallLatency => {
                Shape { name: "small", file: "part-{}.json", files: 2000, sizes: 10_000..=100_000 }
            }
            Self::Slow => weights("slow", "model.safetensors", 1, 1024 * MIB),
        }
    }

    /// How the server behaves.
    pub fn manners(self) -> Manners {
        let latency = Duration::from_millis(50);
        match self {
            Self::File | Self::Shards | Self::Small => Manners::default(),
            Self::SmallLatency => Manners { latency, rate: None },
            Self::Slow => Manners { latency, rate: Some(50 * MIB) },
        }
    }
}
