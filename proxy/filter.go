package proxy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/routerfilter"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/resource"
)

// Filters asks router filters; *routerfilter.Gate is one.
type Filters interface {
	Filter(ctx context.Context, f *resource.RouterFilter, r *routerfilter.Route) ([]int, error)
}

// routerFilter returns what leaves of the call's candidates those in its end user's region, and asks the router filters
// of the cluster about them; nil if all may answer and nobody is asked.
func (s *Server) routerFilter(ctx context.Context, c *Call) router.Filter {
	all := c.cat.Tables().RouterFilters
	if s.cfg.Filters == nil {
		all = nil
	}
	if len(all) == 0 && c.region == "" {
		return nil
	}
	return func(model *resource.Model, cands []router.Candidate) ([]int, error) {
		chosen := make([]int, 0, len(cands))
		for i := range cands {
			if c.region == "" || resource.InRegion(c.region, placeOf(c.cat, cands[i].Deployment)) {
				chosen = append(chosen, i)
			}
		}
		for _, f := range all {
			if len(chosen) == 0 || !resource.AllowsModel(f.Models, model.Name, model.AccessGroups...) {
				continue
			}
			some, err := s.cfg.Filters.Filter(ctx, f, c.routeTo(model, cands, chosen))
			switch {
			case err == nil:
				next := make([]int, len(some))
				for i, at := range some {
					next[i] = chosen[at]
				}
				chosen = next
			case ctx.Err() != nil:
				return nil, gone(err)
			case f.OnError != resource.OnErrorPass:
				return nil, &llm.Error{
					Kind: llm.Unavailable, Code: "router_filter_unavailable", RetryAfter: time.Second, Err: err,
					Message: "Which deployment may answer cannot be found out now.",
				}
			default:
				s.log.WarnContext(ctx, "a router filter could not be asked", "filter", f.Name, "request_id", c.id, "error", err)
			}
		}
		return chosen, nil
	}
}

// placeOf is where a deployment is: what its metadata say (LiteLLM's model_info), its options, or its credential's; "" if
// nobody says.
func placeOf(cat *resource.Catalog, d *resource.Deployment) string {
	if bytes.Contains(d.Metadata, []byte(`"region_name"`)) {
		var m struct {
			Region string `json:"region_name"`
		}
		if json.Unmarshal(d.Metadata, &m) == nil && m.Region != "" {
			return m.Region
		}
	}
	place := cmp.Or(d.Options["region"], d.Options["location"])
	if cred, ok := cat.Credential(d.CredentialID); ok && place == "" {
		place = cmp.Or(cred.Options["region"], cred.Options["location"])
	}
	return place
}

// routeTo is what a router filter is told about the call and the candidates that are left.
func (c *Call) routeTo(model *resource.Model, cands []router.Candidate, left []int) *routerfilter.Route {
	owners := c.who.Owners(c.fields.User)
	r := &routerfilter.Route{
		RequestID: c.id, Endpoint: c.route.endpoint.String(), Model: model.Name, Asked: c.asked(),
		KeyID: owners.KeyID, TeamID: owners.TeamID, OrganizationID: owners.OrganizationID, UserID: owners.UserID, CustomerID: owners.CustomerID,
		Tags: slices.Clone(c.fields.Tags), Session: c.session, Stream: c.fields.Stream, Candidates: make([]routerfilter.Candidate, len(left)),
	}
	for i, at := range left {
		d := cands[at].Deployment
		r.Candidates[i] = routerfilter.Candidate{
			DeploymentID: d.ID, Name: d.Name, Provider: d.Provider, UpstreamModel: d.Upstream, APIBase: d.APIBase, Order: int(d.Order), Metadata: d.Metadata,
			InFlight: cands[at].InFlight, Others: cands[at].Others, FirstToken: cands[at].FirstToken,
		}
	}
	return r
}
