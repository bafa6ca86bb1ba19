package litellm

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// settingAllowed is the setting behind LiteLLM's list of addresses that may send requests.
const settingAllowed = "allowed_ips"

// allowedIPs writes the list; an empty one allows all, which LiteLLM says as null.
func (a *API) allowedIPs(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	list := addresses(a.cfg.State.Catalog().Settings().AllowedIPs)
	if len(list) == 0 {
		return wire.Answer(w, records.Written{}, map[string]any{"data": nil})
	}
	return wire.Answer(w, records.Written{}, map[string]any{"data": list})
}

// addresses writes ranges of one address as that address.
func addresses(list []netip.Prefix) []string {
	out := make([]string, 0, len(list))
	for _, p := range list {
		if p.IsSingleIP() {
			out = append(out, p.Addr().String())
		} else {
			out = append(out, p.String())
		}
	}
	return out
}

// changeAllowedIP makes a handler that adds an address or a range to the list, or takes it off.
func (a *API) changeAllowedIP(done string, change func(list []string, ip string) ([]string, error)) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request, by records.Caller) error {
		in, err := wire.ReadBody(r)
		if err != nil {
			return err
		}
		ip, err := fields.Text(in, "ip")
		if err != nil {
			return err
		}
		if ip == "" {
			return wire.Invalid("ip", "is missing")
		}
		var version uint64
		if s, ok := a.cfg.Records.Settings.Find(settingAllowed); ok {
			version = s.Version
		}
		next, err := change(addresses(a.cfg.State.Catalog().Settings().AllowedIPs), ip)
		if err != nil {
			return err
		}
		doc := records.Document{}
		if err := doc.Set("value", next); err != nil {
			return err
		}
		_, wr, err := a.cfg.Records.Settings.Replace(r.Context(), by, settingAllowed, version, doc)
		if err != nil {
			return err
		}
		return wire.Answer(w, wr, map[string]any{"message": fmt.Sprintf("IP %s address %s successfully", ip, done), "status": "success"})
	}
}

func addAddress(list []string, ip string) ([]string, error) {
	if slices.Contains(list, ip) {
		return nil, fmt.Errorf("address %s: %w", ip, resource.ErrExists)
	}
	return append(list, ip), nil
}

func removeAddress(list []string, ip string) ([]string, error) {
	i := slices.Index(list, ip)
	if i < 0 {
		return nil, fmt.Errorf("address %s: %w", ip, resource.ErrNotFound)
	}
	return slices.Delete(list, i, i+1), nil
}

func (a *API) addressRoutes() []wire.Route {
	return []wire.Route{
		{ID: "litellm-allowed-ips", Method: http.MethodGet, Pattern: "/get/allowed_ips", Handler: a.allowedIPs},
		{ID: "litellm-allowed-ip-add", Method: http.MethodPost, Pattern: "/add/allowed_ip", Handler: a.changeAllowedIP("added", addAddress)},
		{ID: "litellm-allowed-ip-delete", Method: http.MethodPost, Pattern: "/delete/allowed_ip", Handler: a.changeAllowedIP("deleted", removeAddress)},
	}
}
