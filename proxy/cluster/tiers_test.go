package cluster

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// threeTiers is a cluster of two endpoints, with two tiers behind it.
func threeTiers(t *testing.T, f *farm, below float64, cfg Config) (c, second, last *Cluster) {
	second = newTest(t, f.transport(), Config{Tier: "1: dc2", Panic: 0.5, Outlier: cfg.Outlier, Health: cfg.Health}, "dc2:1")
	last = newTest(t, f.transport(), Config{Tier: "2: static"}, "static:1")
	cfg.Failover = &Failover{Tiers: []*Cluster{second, last}, Below: below, Return: 10 * time.Second}
	cfg.Service, cfg.Transport = "orders", f.transport()
	c = New(cfg)
	return c, second, last
}

func one(c *Cluster) string {
	x := newExchange("GET", "")
	defer over(x)
	if f := c.Forward(x, &Options{}); f != nil {
		return f.Code
	}
	return x.Endpoint
}

func TestFailoverGoesInOrderAndReturnsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, second, _ := threeTiers(t, newFarm(), 0, Config{})
		defer func() { _ = c.Close() }()
		two := []Endpoint{{Address: "a:1"}, {Address: "b:1"}}
		if got := one(c); got != "no-endpoint" {
			t.Errorf("before discovery has answered: %s", got)
		}
		c.Replace(two)
		if got := one(c); got != "a:1" && got != "b:1" {
			t.Errorf("primary: %s", got)
		}
		c.Replace(nil)
		if got := one(c); got != "dc2:1" {
			t.Errorf("primary is gone: %s", got)
		}
		second.Replace(nil)
		if got := one(c); got != "static:1" {
			t.Errorf("dc2 is gone: %s", got)
		}
		if s := c.Status(); s.Serving != "2: static" || c.Numbers()[0].Serving != 2 || len(s.Failover) != 2 || s.Failover[0].Name != "1: dc2" {
			t.Errorf("%+v", s)
		}
		if c.Size() != 1 {
			t.Errorf("size %d", c.Size())
		}
		// Back, but only once it has been good for a while without a break.
		c.Replace(two)
		time.Sleep(8 * time.Second)
		c.Replace(nil)
		time.Sleep(time.Second)
		c.Replace(two)
		time.Sleep(8 * time.Second)
		if got := one(c); got != "static:1" {
			t.Errorf("returned at once: %s", got)
		}
		time.Sleep(3 * time.Second)
		if got := one(c); got != "a:1" && got != "b:1" {
			t.Errorf("did not return: %s", got)
		}
	})
}

func TestFailoverReturnsAtOnceWhenTheStandInFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, second, last := threeTiers(t, newFarm(), 0, Config{})
		defer func() { _ = c.Close() }()
		c.Replace([]Endpoint{{Address: "a:1"}})
		c.Replace(nil)
		c.Replace([]Endpoint{{Address: "a:1"}})
		if got := one(c); got != "dc2:1" {
			t.Fatal(got)
		}
		second.Replace(nil)
		if got := one(c); got != "a:1" {
			t.Errorf("the primary is good and the stand-in gone: %s", got)
		}
		last.Replace(nil)
		c.Replace(nil)
		if got := one(c); got != "no-endpoint" {
			t.Errorf("none anywhere: %s", got)
		}
	})
}

// TestALastResortServesWhenDiscoveryNeverAnswers, and the first tier takes over
// at once when it does.
func TestALastResortServesWhenDiscoveryNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _ := threeTiers(t, newFarm(), 0, Config{})
		defer func() { _ = c.Close() }()
		time.Sleep(firstAnswer + time.Second)
		if got := one(c); got != "dc2:1" {
			t.Errorf("%s", got)
		}
		c.Replace([]Endpoint{{Address: "a:1"}})
		if got := one(c); got != "a:1" {
			t.Errorf("discovery has answered at last: %s", got)
		}
	})
}

func TestFailoverByHealth(t *testing.T) {
	for _, c := range []struct {
		below float64
		down  []string
		want  []string
	}{
		{0, []string{"a:1"}, []string{"b:1"}},
		{0, []string{"a:1", "b:1"}, []string{"dc2:1"}},
		{0.6, []string{"a:1"}, []string{"dc2:1"}},
		{0.6, []string{"a:1", "dc2:1"}, []string{"static:1"}},
		{0, []string{"a:1", "b:1", "dc2:1"}, []string{"static:1"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			f, h := newFarm(), probing
			cl, _, _ := threeTiers(t, f, c.below, Config{Health: &h, Panic: 0.5})
			defer func() { _ = cl.Close() }()
			cl.Replace([]Endpoint{{Address: "a:1"}, {Address: "b:1"}})
			for _, a := range c.down {
				f.set(a, "connect")
			}
			time.Sleep(5 * time.Second)
			for range 20 {
				if got := one(cl); !slices.Contains(c.want, got) {
					t.Errorf("%v down, below %v: %s, want %v", c.down, c.below, got, c.want)
					break
				}
			}
		})
	}
}

// TestWithoutAHealthyTierThePrimaryPanics rather than refuses.
func TestWithoutAHealthyTierThePrimaryPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, h := newFarm(), probing
		second := newTest(t, f.transport(), Config{Tier: "1", Panic: 0.5, Health: &h}, "dc2:1")
		c := newTest(t, f.transport(), Config{Panic: 0.5, Health: &h, Failover: &Failover{Tiers: []*Cluster{second}}}, "a:1")
		defer func() { _ = c.Close() }()
		f.set("a:1", "503")
		f.set("dc2:1", "503")
		time.Sleep(5 * time.Second)
		if got := one(c); got != "a:1" {
			t.Errorf("%s", got)
		}
	})
}

func TestEjectionLeadsToFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, o := newFarm(), ejecting
		o.MaxEjected = 1
		c, _, _ := threeTiers(t, f, 0, Config{Outlier: &o})
		defer func() { _ = c.Close() }()
		c.Replace([]Endpoint{{Address: "a:1"}, {Address: "b:1"}})
		f.set("a:1", "connect")
		f.set("b:1", "connect")
		failed := 0
		for range 100 {
			if got := one(c); got != "dc2:1" {
				failed++
			}
			synctest.Wait()
		}
		if failed > 15 {
			t.Errorf("%d of 100 requests did not reach dc2", failed)
		}
	})
}
