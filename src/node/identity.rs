//! Creates the id of a process, from the host, the pid and the system's random numbers.

use crate::topic::NodeId;

/// A new id for a process that runs the node of that name (WIRE.md §1.5).
pub(super) fn new_node_id(node_name: &str) -> std::io::Result<NodeId> {
    let mut random = [0; 16];
    let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    if filled < 12 {
        return Err(std::io::Error::other("the system returned too few random bytes"));
    }
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    Ok(NodeId::generate(node_name, &host, std::process::id(), u128::from_ne_bytes(random)))
}

/// A new id for a process that is not a node. It contains the name of the key the process connects
/// with, if the key has one.
pub(super) fn new_client_id(name: Option<&str>) -> std::io::Result<NodeId> {
    if let Some(name) = name {
        return new_node_id(name);
    }
    let id = new_node_id("")?.to_string();
    Ok(NodeId::from_bytes(id.replacen("zeromq__", "zcluster_", 1)))
}
