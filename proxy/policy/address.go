package policy

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// maxHops bounds how many proxies in front are followed back.
const maxHops = 32

// ClientText is ClientAddress as a text, "" if it cannot be told.
func ClientText(peer string, h http.Header, s *resource.Settings) string {
	if a := ClientAddress(peer, h, s.TrustedProxies); a.IsValid() {
		return a.String()
	}
	return ""
}

// ClientAddress is where a request comes from: its peer, or, if that is a trusted proxy, the
// first address from the right of X-Forwarded-For that is none. peer is as http.Request has
// it. The zero Addr means that it cannot be told.
func ClientAddress(peer string, h http.Header, trusted []netip.Prefix) netip.Addr {
	at := parseAddress(peer)
	if len(trusted) == 0 || !contains(trusted, at) {
		return at
	}
	lines := h["X-Forwarded-For"]
	hops := 0
	for _, line := range slices.Backward(lines) {
		for rest, more := line, true; more; hops++ {
			var hop string
			if at := strings.LastIndexByte(rest, ','); at >= 0 {
				rest, hop = rest[:at], rest[at+1:]
			} else {
				hop, more = rest, false
			}
			at = parseAddress(strings.TrimSpace(hop))
			if hops == maxHops || !at.IsValid() || !contains(trusted, at) {
				return at
			}
		}
	}
	return at // all of them are trusted: the one furthest away
}

// parseAddress reads an address with or without a port; what it cannot read is the zero Addr.
func parseAddress(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	for i := range list {
		if list[i].Contains(a) {
			return true
		}
	}
	return false
}

// CheckSource refuses a request from an address that the settings or a level do not allow.
// peer is who is connected, as http.Request has it. Nothing is read where nobody asks.
func CheckSource(peer string, h http.Header, s *resource.Settings, levels []resource.Level) error {
	if !Addressed(s, levels) {
		return nil
	}
	return CheckAddress(ClientAddress(peer, h, s.TrustedProxies), s, levels)
}

// CheckAdmin is CheckSource for the admin API, but for requests of the machine itself: else
// nobody could correct a list that leaves out everybody.
func CheckAdmin(peer string, h http.Header, s *resource.Settings, levels []resource.Level) error {
	if len(h["X-Forwarded-For"]) == 0 && parseAddress(peer).IsLoopback() {
		return nil
	}
	return CheckSource(peer, h, s, levels)
}

// Addressed says whether an address matters to the settings or to a level.
func Addressed(s *resource.Settings, levels []resource.Level) bool {
	if len(s.AllowedIPs) > 0 || len(s.DeniedIPs) > 0 {
		return true
	}
	for i := range levels {
		if p := levels[i].Policy; p != nil && (len(p.AllowedIPs) > 0 || len(p.DeniedIPs) > 0) {
			return true
		}
	}
	return false
}

// CheckAddress refuses a request from an address that the settings or a level do not allow.
// An address that cannot be told is in no list of allowed ones, and in each of denied ones.
func CheckAddress(a netip.Addr, s *resource.Settings, levels []resource.Level) error {
	if len(s.AllowedIPs) > 0 && !contains(s.AllowedIPs, a) || len(s.DeniedIPs) > 0 && (!a.IsValid() || contains(s.DeniedIPs, a)) {
		return refuseAddress(a, "", "")
	}
	for i := range levels {
		p := levels[i].Policy
		if p == nil {
			continue
		}
		if len(p.AllowedIPs) > 0 && !listed(p.AllowedIPs, a) || len(p.DeniedIPs) > 0 && (!a.IsValid() || listed(p.DeniedIPs, a)) {
			return refuseAddress(a, levels[i].Kind, levels[i].ID)
		}
	}
	return nil
}

// listed says whether a list in text, which was checked when it was written, has the address.
func listed(list []string, a netip.Addr) bool {
	for _, text := range list {
		if p, err := resource.ParseAddresses(text); err == nil && p.Contains(a) {
			return true
		}
	}
	return false
}

func refuseAddress(a netip.Addr, kind, id string) error {
	seen := "that could not be told"
	if a.IsValid() {
		seen = a.String()
	}
	return &llm.Error{
		Kind: llm.Forbidden, Code: CodeAddress, Scope: kind, Entity: id, NoRetry: true,
		Message: "Requests from the address " + seen + " are not allowed.",
	}
}
