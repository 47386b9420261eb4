//! Keys and tokens that work in the right state of the machine only, through the module and by real programs.

mod approvals;
mod budgets;
mod keyfiles;
mod keys;
mod machine;
mod programs;
mod ssh;
mod tokens;
