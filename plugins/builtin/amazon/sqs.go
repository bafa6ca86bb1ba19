package amazon

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// maxMessages is how many messages SQS takes at a time.
const maxMessages = 10

// SQSConfig is the configuration of the queue.
type SQSConfig struct {
	QueueURL string `json:"queue_url"`
	Account
	sink.HTTP
}

// SQS sends a message for each request. Of a FIFO queue each node is a group, in which they are in
// order and come once.
type SQS struct {
	cfg    SQSConfig
	client *sink.Client
	now    func() time.Time // nil: time.Now
}

// Configure implements sdk.Callback.
func (q *SQS) Configure(_ context.Context, set sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := SQSConfig{}
	if err := sink.ReadConfig(set.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if _, err := sink.URL("queue_url", cfg.QueueURL); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if err := cfg.check(); err != nil {
		return sdk.CallbackDescription{}, err
	}
	client, err := sink.NewClient(cfg.HTTP, false)
	q.cfg, q.client = cfg, client
	return sdk.CallbackDescription{Version: scan.Version}, err
}

// Deliver implements sdk.Callback.
func (q *SQS) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	if q.ordered() {
		return sink.Deliver(ctx, records, maxMessages, q.send)
	}
	return sink.Unordered(ctx, records, maxMessages, q.send)
}

// ordered says that the queue keeps the order of messages.
func (q *SQS) ordered() bool {
	return strings.HasSuffix(q.cfg.QueueURL, ".fifo")
}

// queued is one message.
type queued struct {
	ID    string `json:"Id"`
	Body  string `json:"MessageBody"`
	Group string `json:"MessageGroupId,omitempty"`
	Once  string `json:"MessageDeduplicationId,omitempty"`
}

func (q *SQS) send(ctx context.Context, records []sdk.Record) (int, error) {
	batch := struct {
		QueueURL string   `json:"QueueUrl"`
		Entries  []queued `json:"Entries"`
	}{QueueURL: q.cfg.QueueURL}
	for i := range records {
		r := &records[i]
		b, err := payload.Marshal(r)
		if err != nil {
			return 0, err
		}
		m := queued{ID: strconv.Itoa(i), Body: string(b)}
		if q.ordered() {
			m.Group, m.Once = r.NodeID, fmt.Sprintf("%s-%d", r.NodeID, r.Position)
		}
		batch.Entries = append(batch.Entries, m)
	}
	body, err := json.Marshal(batch)
	if err != nil {
		return 0, fmt.Errorf("encode messages: %w", err)
	}
	u, err := url.Parse(q.cfg.QueueURL)
	if err != nil {
		return 0, fmt.Errorf("queue_url: %w", err)
	}
	u.Path = "/"
	answer, err := q.client.Do(ctx, &sink.Request{
		URL: u.String(), Body: body, Sign: q.cfg.signer("sqs", q.now), Passes: batchPasses,
		Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}, "X-Amz-Target": {"AmazonSQS.SendMessageBatch"}},
	})
	if err != nil {
		return 0, err
	}
	return queuedOf(answer, len(records))
}

// queuedOf reads how many messages, from the first, are in the queue.
func queuedOf(answer []byte, n int) (int, error) {
	var res struct {
		Failed []struct {
			ID          string `json:"Id"`
			Code        string `json:"Code"`
			Message     string `json:"Message"`
			SenderFault bool   `json:"SenderFault"`
		} `json:"Failed"`
	}
	if err := json.Unmarshal(answer, &res); err != nil {
		return 0, fmt.Errorf("read answer of the queue: %w", err)
	}
	first, why := n, error(nil)
	for _, f := range res.Failed {
		i, err := strconv.Atoi(f.ID)
		if err != nil || i < 0 || i >= first {
			continue
		}
		first, why = i, fmt.Errorf("message is answered %s: %s", f.Code, sink.Reason([]byte(f.Message)))
		if f.SenderFault && !messagePasses(f.Code) {
			why = &sdk.CallbackRefused{Reason: why.Error()}
		}
	}
	return first, why
}
