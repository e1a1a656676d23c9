//! Whole models against oracles that nobody here wrote, and against files that are not right.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bad_models;
mod conformance;
mod damage;
mod drafts;
mod families;
mod goldens;
mod latent;
mod mixtures;
mod recurrent;
mod run;
mod stages;
mod wants;
