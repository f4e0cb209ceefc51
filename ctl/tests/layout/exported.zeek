# Written by `zcluster layout export`.

redef Cluster::manager_is_logger = F;

redef Cluster::nodes = {
	["manager"] = [$node_type=Cluster::MANAGER, $ip=127.0.0.1, $metrics_port=9911/tcp],
	["logger-1"] = [$node_type=Cluster::LOGGER, $ip=127.0.0.1, $p=5560/tcp, $metrics_port=9912/tcp],
	["logger-2"] = [$node_type=Cluster::LOGGER, $ip=127.0.0.1, $p=5561/tcp, $metrics_port=9913/tcp],
	["worker-1"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1, $manager="manager", $metrics_port=9915/tcp],
	["worker-2"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1, $manager="manager", $metrics_port=9916/tcp],
};
