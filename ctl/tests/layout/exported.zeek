# Written by `zcluster layout export`.

redef Cluster::manager_is_logger = F;

redef Cluster::nodes = {
	["manager"] = [$node_type=Cluster::MANAGER, $ip=127.0.0.1, $metrics_port=9911/tcp],
	["logger-1"] = [$node_type=Cluster::LOGGER, $ip=127.0.0.1, $p=5560/tcp, $metrics_port=9912/tcp],
	["logger-2"] = [$node_type=Cluster::LOGGER, $ip=127.0.0.1, $p=5561/tcp, $metrics_port=9913/tcp],
	["worker-1"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1, $manager="manager", $metrics_port=9915/tcp],
	["worker-2"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1, $manager="manager", $metrics_port=9916/tcp],
};

event zeek_init()
	{
	if ( getenv("ZEEKCTL_DISABLE_LISTEN") == "" && Cluster::node == "manager" )
		Cluster::listen_websocket([$listen_addr=127.0.0.1, $listen_port=27759/tcp]);
	}

@load frameworks/cluster/backend/zeromq
# The central broker is a process of its own, zcluster-proxy.
redef Cluster::Backend::ZeroMQ::run_proxy_thread = F;
