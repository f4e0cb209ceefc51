# Written by `zcluster layout export`.
# Load it in local.zeek or name it on the command line; cluster-layout.zeek comes too early.

@load frameworks/cluster/backend/zeromq

# The broker is a separate process, zcluster-broker.
redef Cluster::Backend::ZeroMQ::run_proxy_thread = F;
redef Log::default_rotation_interval = 0 sec;

event zeek_init()
	{
	if ( getenv("ZEEKCTL_DISABLE_LISTEN") == "" && Cluster::node == "manager" )
		Cluster::listen_websocket([$listen_addr=127.0.0.1, $listen_port=27759/tcp]);
	}
