//! What a decoder is: its architecture as data, its weights, a batch of work, the operations a device must offer,
//! and the one forward pass that ties them together.
//!
//! It knows tokens, positions and numbers. It must not know strings, sockets or schedules; outside
//! [`architecture`] it must not know a family's name, and nowhere a device.
//!
//! Start reading at [`architecture`], then [`transformer`], then [`reference`](mod@reference).
#![forbid(unsafe_code)]

pub mod architecture;
pub mod backend;
pub mod batch;
pub mod conformance;
pub mod drafted;
pub mod error;
pub mod ffn;
pub mod heartbeat;
pub mod layer;
pub mod mixer;
pub mod model;
pub mod numerics;
pub mod output;
pub mod per_layer;
pub mod profile;
pub mod reference;
pub mod revived;
pub mod rope;
pub mod routing;
pub mod sample;
pub mod stage;
pub mod transformer;
pub mod weights;
