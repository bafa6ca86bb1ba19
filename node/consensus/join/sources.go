package join

import (
	"net"
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
)

const (
	maxSources = 4096 // addresses that are remembered at once
	v6Network  = 64   // bits of an address that one host can choose the rest of
)

// sources bounds how often newcomers are answered, of each address and in all: a stranger who asks without end keeps
// nobody else from joining.
type sources struct {
	all *rate.Limiter

	mu   sync.Mutex // guards each
	each map[netip.Addr]*rate.Limiter
}

// newSources allows 5 questions a second of each address, and 100 in all.
func newSources() *sources {
	return &sources{all: rate.NewLimiter(100, 200), each: map[netip.Addr]*rate.Limiter{}}
}

// allow says whether a question from the address is answered now.
func (s *sources) allow(from net.Addr) bool { return s.of(hostOf(from)).Allow() && s.all.Allow() }

// of is the bound of an address.
func (s *sources) of(host netip.Addr) *rate.Limiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.each[host]
	if l == nil {
		if len(s.each) >= maxSources { // all begin anew: what is asked in all is bounded, too
			clear(s.each)
		}
		l = rate.NewLimiter(5, 20)
		s.each[host] = l
	}
	return l
}

// hostOf is who an address belongs to: itself, or its network of IPv6. The zero address is of who has none.
func hostOf(a net.Addr) netip.Addr {
	if a == nil {
		return netip.Addr{}
	}
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	host := at.Addr().Unmap().WithZone("")
	if host.Is6() {
		if p, err := host.Prefix(v6Network); err == nil {
			return p.Addr()
		}
	}
	return host
}
