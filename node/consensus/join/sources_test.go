package join

import (
	"net"
	"testing"
)

func TestSources(t *testing.T) {
	t.Parallel()
	s := newSources()
	at := func(host string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(host), Port: 4711} }
	asked := 0
	for asked < 1000 && s.allow(at("192.0.2.1")) {
		asked++
	}
	if asked < 20 || asked > 100 {
		t.Errorf("a stranger was answered %d times in a row", asked)
	}
	if !s.allow(at("192.0.2.2")) {
		t.Error("another is not answered, because of a stranger")
	}
	of := func(host string) any { return s.of(hostOf(at(host))) }
	if of("2001:db8::1") != of("2001:db8::ffff") || of("2001:db8::1") == of("2001:db8:1::1") {
		t.Error("a host with a network of its own is not bounded by its network")
	}
	if hostOf(at("::ffff:192.0.2.1")) != hostOf(at("192.0.2.1")) || hostOf(nil).IsValid() {
		t.Error("addresses are not told apart as they should be")
	}
	for i := range maxSources + 1 {
		s.of(hostOf(at(net.IPv4(10, 0, byte(i>>8), byte(i)).String())))
	}
	if len(s.each) > maxSources {
		t.Errorf("%d addresses are remembered", len(s.each))
	}
}
