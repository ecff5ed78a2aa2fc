//! What a lock must be able to do to be measured.

use std::error::Error;

/// Whatever goes wrong ends the sample.
pub type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// A kind of lock, connected to its server.
pub trait Subject: Send + Sync + 'static {
    /// What each task works with.
    type Lock: Lock;

    /// The lock of this key, for one task.
    fn lock(&self, key: String) -> impl Future<Output = Result<Self::Lock>> + Send;

    /// How many times the server has granted a lock to this process, of subjects that hand it on without the server.
    fn grants(&self) -> Option<u64> {
        None
    }
}

/// A lock of one key, which its task takes again and again.
pub trait Lock: Send + 'static {
    /// The proof that it is held.
    type Held: Send + 'static;

    /// Waits until it is held.
    fn acquire(&mut self) -> impl Future<Output = Result<Self::Held>> + Send;

    /// `None` when somebody else has it.
    fn try_acquire(&mut self) -> impl Future<Output = Result<Option<Self::Held>>> + Send;

    /// Returns when the server has it back.
    fn release(&mut self, held: Self::Held) -> impl Future<Output = Result<()>> + Send;
}
