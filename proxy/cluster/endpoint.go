package cluster

// Endpoint is one address of a service, as discovery reports it.
type Endpoint struct {
	Address string            // host:port to dial
	Weight  int               // share of traffic; 0 counts as 1
	Tags    []string          // Consul service tags
	Meta    map[string]string // Consul service metadata
	Node    string            // Consul node name
	Zone    string            // locality, from the node's metadata or locality
}
