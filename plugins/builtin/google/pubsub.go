package google

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// maxMessages is how many messages are published at a time; a topic takes 1,000, and 10 MB.
const maxMessages = 100

// PubSubConfig is the configuration of PubSub.
type PubSubConfig struct {
	Project string `json:"project"`
	Topic   string `json:"topic"`
	Ordered bool   `json:"ordered,omitempty"` // each node is an ordering key
	Sender
	sink.HTTP
}

// PubSub publishes a message for each request.
type PubSub struct {
	cfg    PubSubConfig
	url    string
	client *sink.Client
	proof  proof
}

// Configure implements sdk.Callback.
func (p *PubSub) Configure(_ context.Context, set sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := PubSubConfig{}
	if err := sink.ReadConfig(set.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if cfg.Project == "" || cfg.Topic == "" || strings.ContainsAny(cfg.Project+cfg.Topic, "/?# ") {
		return sdk.CallbackDescription{}, errors.New("project, topic: give the ids of a project and of a topic of it")
	}
	client, who, err := cfg.connect(cfg.HTTP, "https://pubsub.googleapis.com", "https://www.googleapis.com/auth/pubsub")
	p.cfg, p.client, p.proof = cfg, client, who
	p.url = fmt.Sprintf("%s/v1/projects/%s/topics/%s:publish", strings.TrimSuffix(cfg.Endpoint, "/"), url.PathEscape(cfg.Project), url.PathEscape(cfg.Topic))
	return sdk.CallbackDescription{Version: scan.Version}, err
}

// Deliver implements sdk.Callback.
func (p *PubSub) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	return sink.Deliver(ctx, records, maxMessages, sink.Post(p.client, p.publish))
}

// message is one message.
type message struct {
	Data       []byte            `json:"data"`
	Attributes map[string]string `json:"attributes"`
	Key        string            `json:"orderingKey,omitempty"`
}

func (p *PubSub) publish(records []sdk.Record) (*sink.Request, error) {
	list := make([]message, 0, len(records))
	for i := range records {
		r := &records[i]
		b, err := payload.Marshal(r)
		if err != nil {
			return nil, err
		}
		m := message{Data: b, Attributes: map[string]string{
			"request_id": r.RequestID, "node": r.NodeID, "position": strconv.FormatUint(r.Position, 10), "status": r.Status,
		}}
		if p.cfg.Ordered {
			m.Key = r.NodeID
		}
		list = append(list, m)
	}
	body, err := json.Marshal(map[string][]message{"messages": list})
	if err != nil {
		return nil, fmt.Errorf("encode messages: %w", err)
	}
	return &sink.Request{URL: p.url, Header: http.Header{"Content-Type": {"application/json"}}, Body: body, Sign: p.proof.sign, Passes: passes}, nil
}
