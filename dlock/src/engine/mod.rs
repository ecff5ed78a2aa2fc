//! Which request is answered when, and by which session.

mod machine;
