//! Whole models against oracles that nobody here wrote, and against files that are not right.

mod conformance;
mod goldens;
mod run;
