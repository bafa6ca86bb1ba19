package node

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/node/probe"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/view"
	"github.com/conclave-llm/conclave/resource"
)

// startProbes makes the node's part of the background health checks; runProbes starts it.
func (n *Node) startProbes() {
	n.probes = probe.New(probe.Config{
		NodeID: n.identity.NodeID, Catalog: n.state.Catalog, Leads: n.consensus.IsLeader, Ask: n.askBackend,
		Logger: n.log, Registerer: n.registry,
	})
	n.startPaidProbes()
}

// runProbes starts the checks; the data path is there, which those by requests go through.
func (n *Node) runProbes() {
	n.wg.Go(func() { n.probes.Run(n.ctx) })
	n.wg.Go(func() { n.paidProbes.Run(n.ctx) })
}

// askBackend sends one request that uses no tokens the way that a deployment's requests go.
func (n *Node) askBackend(ctx context.Context, d *resource.Deployment) error {
	cat := n.state.Catalog()
	t := router.Target{Model: &resource.Model{}, Deployment: d}
	if m, ok := cat.ModelByID(d.ModelID); ok {
		t.Model = m
	}
	if d.CredentialID != "" {
		c, ok := cat.Credential(d.CredentialID)
		if !ok {
			return fmt.Errorf("the credential %s is not known", d.CredentialID)
		}
		t.Credential = c
	}
	seen := view.Cache{Secrets: n.opener(), Egress: n.egress}
	v := seen.Of(cat).Deployment(&t)
	if v.Err != nil {
		return v.Err
	}
	return n.upstream.Probe(ctx, &upstream.Attempt{Provider: v.Provider, Base: v.Base, Plugin: v.Plugin, Account: v.Account, Link: v.Link})
}

// health lists every deployment with what this node knows of it: from the traffic itself, and from
// the background health checks where they are on. It sends no request.
func (n *Node) health(w http.ResponseWriter, r *http.Request) {
	cools := map[string]bool{}
	for _, l := range n.router.Stats().Loads() {
		cools[l.DeploymentID] = l.CoolsDown > 0
	}
	healthy, unhealthy := []map[string]any{}, []map[string]any{}
	for _, d := range n.asked(r) {
		row := n.deploymentRow(d)
		why := ""
		if all := n.verdicts(d); len(all) > 0 && n.state.Catalog().Settings().HealthChecks {
			why = all[0].Reason()
			row["checked_at"] = all[0].At.UTC().Format(time.RFC3339Nano)
		}
		switch {
		case d.Blocked:
			why = "taken out of service"
		case cools[d.ID]:
			why = "cools down after failures"
		}
		if why == "" {
			healthy = append(healthy, row)
			continue
		}
		row["error"] = why
		unhealthy = append(unhealthy, row)
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"healthy_endpoints": healthy, "unhealthy_endpoints": unhealthy,
		"healthy_count": len(healthy), "unhealthy_count": len(unhealthy),
	})
}

// asked are the deployments that the query is about: of model, the name that clients ask for, or
// model_id alone.
func (n *Node) asked(r *http.Request) []*resource.Deployment {
	cat, q := n.state.Catalog(), r.URL.Query()
	var all []*resource.Deployment
	for _, d := range cat.Tables().Deployments {
		m, ok := cat.ModelByID(d.ModelID)
		if id := q.Get("model_id"); id != "" && id != d.ID || q.Get("model") != "" && (!ok || m.Name != q.Get("model")) {
			continue
		}
		all = append(all, d)
	}
	return all
}

func (n *Node) deploymentRow(d *resource.Deployment) map[string]any {
	row := map[string]any{"model_id": d.ID, "model": d.Provider + "/" + d.Upstream, "api_base": d.APIBase}
	if m, ok := n.state.Catalog().ModelByID(d.ModelID); ok {
		row["model_name"] = m.Name
	}
	return row
}

// checkRow is a verdict in LiteLLM's words.
func (n *Node) checkRow(d *resource.Deployment, v *check) map[string]any {
	row := map[string]any{
		"health_check_id": d.ID + "/" + strconv.FormatInt(v.Slot, 10), "model_name": nil, "model_id": d.ID, "status": "healthy", "healthy_count": 1, "unhealthy_count": 0,
		"error_message": nil, "response_time_ms": float64(v.Took.Microseconds()) / 1000, "details": map[string]any{"result": v.Result.String(), "status": v.Status},
		"checked_by": v.by, "checked_at": v.At.UTC().Format(time.RFC3339Nano),
	}
	if v.by == checkedByRequest {
		row["health_check_id"] = d.ID + "/request/" + strconv.FormatInt(v.Slot, 10)
	}
	if m, ok := n.state.Catalog().ModelByID(d.ModelID); ok {
		row["model_name"] = m.Name
	}
	if !v.Result.Healthy() {
		row["status"], row["healthy_count"], row["unhealthy_count"], row["error_message"] = "unhealthy", 0, 1, v.Reason()
	}
	return row
}

// healthLatest tells the newest verdict about each deployment.
func (n *Node) healthLatest(w http.ResponseWriter, r *http.Request) {
	all := map[string]any{}
	for _, d := range n.asked(r) {
		if now := n.verdicts(d); len(now) > 0 {
			all[d.ID] = n.checkRow(d, &now[0])
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"latest_health_checks": all, "total_models": len(all)})
}

// healthHistory tells the verdicts that this node has heard since it started, the newest first.
func (n *Node) healthHistory(w http.ResponseWriter, r *http.Request) {
	limit, okLimit := count(r, "limit", 100, 1000)
	offset, okOffset := count(r, "offset", 0, 1<<30)
	status := r.URL.Query().Get("status_filter")
	if !okLimit || !okOffset || !slices.Contains([]string{"", "healthy", "unhealthy"}, status) {
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": map[string]any{
			"message": "limit is 0 to 1000, offset a number, and status_filter healthy or unhealthy.", "type": "invalid_request_error", "param": nil, "code": "invalid_value",
		}})
		return
	}
	type row struct {
		at   time.Time
		said map[string]any
	}
	var all []row
	for _, d := range n.asked(r) {
		for _, v := range n.checks(d) {
			if said := n.checkRow(d, &v); status == "" || said["status"] == status {
				all = append(all, row{v.At, said})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b row) int { return b.at.Compare(a.at) })
	page := []map[string]any{}
	for i := offset; i < len(all) && len(page) < limit; i++ {
		page = append(page, all[i].said)
	}
	writeJSON(w, http.StatusOK, map[string]any{"health_checks": page, "total_records": len(all), "limit": limit, "offset": offset})
}

// count reads a number of the query.
func count(r *http.Request, name string, otherwise, most int) (int, bool) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, true
	}
	v, err := strconv.Atoi(text)
	return v, err == nil && v >= 0 && v <= most
}
