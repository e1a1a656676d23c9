//! Whole models against oracles that nobody here wrote, and against files that are not right.

mod bad_models;
mod conformance;
mod goldens;
mod run;
