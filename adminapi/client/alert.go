package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
)

// Alert is something that people are told, once for the cluster.
type Alert struct {
	ID         string           `json:"id"`
	Kind       string           `json:"kind"`
	At         resource.Time    `json:"at"`
	State      string           `json:"state"`   // pending, delivered, or dead: a channel did not get it
	Subject    string           `json:"subject"` // kind and id of what it is about
	Name       string           `json:"name,omitempty"`
	Text       string           `json:"text"`
	Budget     *alert.Shown     `json:"budget,omitempty"`
	Lasting    bool             `json:"lasting,omitempty"` // it is about a state that ends
	EndedAt    resource.Time    `json:"ended_at,omitzero"`
	Deliveries []alert.Delivery `json:"deliveries"`
}

// AlertRetry tells how many alerts are sent again.
type AlertRetry struct {
	Retried int `json:"retried"`
}

// AlertTest names the channel of the setting alerts that is to be tried.
type AlertTest struct {
	Channel string `json:"channel"`
}

// AlertTested is what came of trying a channel.
type AlertTested struct {
	Channel   string `json:"channel"`
	Delivered bool   `json:"delivered"`
	Error     string `json:"error,omitempty"`
}

// AlertKind is a kind of alerts.
type AlertKind = channel.Kind

// Alerts lists alerts, the newest first; filter holds kind, state, subject, limit and cursor.
func (c *Client) Alerts(ctx context.Context, filter url.Values) (out Page[Alert], err error) {
	return out, c.do(ctx, http.MethodGet, "alerts", filter, nil, &out)
}

// Alert reads one alert.
func (c *Client) Alert(ctx context.Context, id string) (out Alert, err error) {
	return out, c.do(ctx, http.MethodGet, "alerts/"+url.PathEscape(id), nil, nil, &out)
}

// AlertKinds lists the kinds of alerts.
func (c *Client) AlertKinds(ctx context.Context) (out Page[AlertKind], err error) {
	return out, c.do(ctx, http.MethodGet, "alerts/kinds", nil, nil, &out)
}

// RetryAlert sends what of an alert is dead again.
func (c *Client) RetryAlert(ctx context.Context, id string) (out AlertRetry, err error) {
	return out, c.do(ctx, http.MethodPost, "alerts/"+url.PathEscape(id)+"/retry", nil, nil, &out)
}

// RetryAlerts sends all dead alerts again.
func (c *Client) RetryAlerts(ctx context.Context) (out AlertRetry, err error) {
	return out, c.do(ctx, http.MethodPost, "alerts/retry", nil, nil, &out)
}

// TestAlert sends a test through a channel, from the node that answers, and tells what came of it.
func (c *Client) TestAlert(ctx context.Context, name string) (out AlertTested, err error) {
	return out, c.do(ctx, http.MethodPost, "alerts/test", nil, AlertTest{Channel: name}, &out)
}
