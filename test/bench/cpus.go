package main

import "fmt"

// cpus says who runs where.
type cpus struct{ proxy, load []int }

// splitCPUs gives the proxy n of the CPUs this process may use and everything
// else the others.
func splitCPUs(n int) (cpus, error) {
	allowed, err := allowedCPUs()
	if err != nil {
		return cpus{}, err
	}
	return split(allowed, n)
}

func split(allowed []int, n int) (cpus, error) {
	switch {
	case len(allowed) < 2:
		return cpus{}, fmt.Errorf("not measured: this needs two CPUs, one for the proxy and one for load and backend, and may use %d", len(allowed))
	case n > 1 && len(allowed) < 2*n:
		return cpus{}, fmt.Errorf("not measured: --cores %d needs %d CPUs, half of them for load and backend, and this machine lets us use %d", n, 2*n, len(allowed))
	}
	return cpus{proxy: allowed[:n], load: allowed[n:]}, nil
}
