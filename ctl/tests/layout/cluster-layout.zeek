redef Cluster::manager_is_logger = F;
redef Cluster::nodes = {
	["manager"] = [$node_type=Cluster::MANAGER, $ip=10.0.0.1, $p=27762/tcp, $metrics_port=9991/tcp],
	["logger-1"] = [$node_type=Cluster::LOGGER, $ip=10.0.0.1, $p=27763/tcp],
	["worker-1"] = [$node_type=Cluster::WORKER, $ip=10.0.0.2, $manager="manager", $interface="eth0"],
};
