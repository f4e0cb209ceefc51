redef Cluster::Backend::ZeroMQ::listen_xpub_endpoint = "tcp://10.0.0.1:27760";
redef Cluster::Backend::ZeroMQ::listen_xsub_endpoint = "tcp://10.0.0.1:27761";
redef Cluster::Backend::ZeroMQ::connect_xpub_endpoint = "tcp://10.0.0.1:27761";
redef Cluster::Backend::ZeroMQ::connect_xsub_endpoint = "tcp://10.0.0.1:27760";
redef Log::default_rotation_postprocessor_cmd = "archive-log";
