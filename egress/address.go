package egress

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// AddrError says that a policy refused to connect to an address.
type AddrError struct {
	Addr netip.Addr
	Err  error
}

// Error implements error.
func (e *AddrError) Error() string { return fmt.Sprintf("connect to %s: %v", e.Addr, e.Err) }

// Unwrap returns the policy's reason.
func (e *AddrError) Unwrap() error { return e.Err }

// asks makes a dialer ask allow about the address that it is about to connect to, which is the
// one that counts: a name may resolve to another each time.
func asks(d *net.Dialer, allow func(netip.Addr) error) {
	d.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("read address: %w", err)
		}
		addr := ap.Addr().Unmap().WithZone("")
		if err := allow(addr); err != nil {
			return &AddrError{addr, err}
		}
		return nil
	}
}

// private are the networks that a URL from outside must not reach, beyond what netip.Addr knows.
var private = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this host
	netip.MustParsePrefix("100.64.0.0/10"),   // carriers' NAT
	netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("240.0.0.0/4"),     // reserved and broadcast
	netip.MustParsePrefix("100::/64"),        // discard
	netip.MustParsePrefix("2001::/23"),       // protocol assignments, Teredo
	netip.MustParsePrefix("2001:db8::/32"),   // documentation
	netip.MustParsePrefix("2002::/16"),       // 6to4
	netip.MustParsePrefix("64:ff9b::/96"),    // NAT64: holds any IPv4 address
	netip.MustParsePrefix("64:ff9b:1::/48"),  // NAT64, local
	netip.MustParsePrefix("fec0::/10"),       // site-local
}

// PublicOnly is a policy for Config.AllowAddr that refuses everything but public unicast addresses.
func PublicOnly(a netip.Addr) error {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return fmt.Errorf("%s is not a public address", a)
	}
	// The first 96 bits zero: an IPv4 address in its deprecated form.
	if a.Is6() && netip.PrefixFrom(a, 96).Masked().Addr() == netip.IPv6Unspecified() {
		return fmt.Errorf("%s is not a public address", a)
	}
	for _, p := range private {
		if p.Contains(a) {
			return fmt.Errorf("%s is not a public address", a)
		}
	}
	return nil
}
