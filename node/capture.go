package node

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/adminapi/capture"
	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/node/courier"
	"github.com/conclave-llm/conclave/secret"
)

// billTimeout bounds each answer of who tells a bill.
const billTimeout = 30 * time.Second

// CaptureConfig is when bills are compared with what was recorded. Its zero value is good.
type CaptureConfig struct {
	Look <-chan time.Time // when to see whether a comparison is due; nil: every fifteen seconds
	Now  func() time.Time // nil: time.Now
}

// startCapture begins to compare bills with what was recorded, if the settings say so and this node leads.
func (n *Node) startCapture() {
	client := n.egress.Client(billTimeout)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the key is for one place
	n.capture = capture.New(capture.Config{
		Catalog: n.state.Catalog, Usage: n.all.Usage, Key: n.adminKey, HTTP: billClient{n, client}, Now: n.cfg.Capture.Now,
		Logger: n.log, Registerer: n.registry,
	})
	n.wg.Go(func() { n.capture.Run(n.ctx, n.cfg.Capture.Look, n.consensus.IsLeader) })
}

// adminKey reads the key with which OpenAI tells its bill: a variable of this process, else of the cluster.
func (n *Node) adminKey() (secret.Text, error) {
	return n.opener().resolve("os.environ/" + capture.KeyVariable)
}

// billClient reads OpenAI's bill by the way to that provider.
type billClient struct {
	n      *Node
	client *http.Client
}

// Do implements reconcile.Doer.
func (b billClient) Do(r *http.Request) (*http.Response, error) {
	link, err := b.n.egress.Link(egress.Options{Proxy: b.n.state.Catalog().Settings().ProviderProxies["openai"]})
	if err != nil {
		return nil, err
	}
	return b.client.Do(r.WithContext(egress.WithLink(r.Context(), link))) //nolint:gosec // an admin's setting says where
}

// captureSights looks at the last comparisons: of says what is wrong with one, "" for nothing, and whether that
// can be told. A node that has made none knows nothing.
func (n *Node) captureSights(of func(r *capture.Result) (text string, known bool)) func(context.Context) ([]courier.Sight, bool) {
	return func(context.Context) ([]courier.Sight, bool) {
		if n.state.Catalog().Settings().CaptureCheck == nil {
			return nil, true
		}
		last := n.capture.Last()
		if len(last) == 0 {
			return nil, false
		}
		var all []courier.Sight
		for i := range last {
			text, known := of(&last[i])
			if !known {
				return nil, false
			}
			if text != "" {
				all = append(all, courier.Sight{ID: last[i].Provider, Lasting: true, Subject: "provider/" + last[i].Provider, Text: text})
			}
		}
		return all, true
	}
}

func captureLow(r *capture.Result) (string, bool) {
	a := r.Answer
	if a == nil {
		return "", false
	}
	if r.Outcome != capture.Low {
		return "", true
	}
	percent := func(part float64) string { return strconv.FormatFloat(part*100, 'f', 2, 64) }
	return fmt.Sprintf("Of $%s that %s bills for %s to %s, $%s were recorded: %s %%, less than %s %%. Requests go past the cluster, or their prices are too low.",
		a.Billed, r.Provider, a.First, a.Last, a.Captured, percent(*a.Rate), percent(a.Threshold)), true
}

func captureFailed(r *capture.Result) (string, bool) {
	if r.Outcome != capture.Failed {
		return "", true
	}
	return "The bill of " + r.Provider + " is not compared with what was recorded: " + short(r.Error), true
}
