//! Publishers of numbered events, and subscribers that account for what they get.
