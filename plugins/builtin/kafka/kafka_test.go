package kafka_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/conclave-llm/conclave/plugins/builtin/kafka"
	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
)

func TestKafka(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "llm"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	k := &kafka.Kafka{}
	sinktest.Configure(t, k, map[string]any{"brokers": cluster.ListenAddrs(), "topic": "llm", "key": "team"})
	records := sinktest.Records(50)
	sinktest.Deliver(t, k, records)

	reader, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("llm"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reader.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []string
	for len(got) < len(records) {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d messages: %v", len(got), err)
		}
		fetches.EachRecord(func(m *kgo.Record) {
			var p payload.Payload
			if err := json.Unmarshal(m.Value, &p); err != nil || string(m.Key) != "team_1" || !m.Timestamp.Equal(records[len(got)].StartedAt.Truncate(time.Millisecond)) {
				t.Errorf("message %s: key %s at %v, %v", m.Value, m.Key, m.Timestamp, err)
			}
			got = append(got, p.ID)
		})
	}
	for i := range records {
		if got[i] != records[i].RequestID {
			t.Fatalf("message %d is of %s: out of order", i, got[i])
		}
	}
}

func TestKafka_down(t *testing.T) {
	t.Parallel()
	k := &kafka.Kafka{}
	sinktest.Configure(t, k, map[string]any{"brokers": []string{"127.0.0.1:1"}, "topic": "llm", "timeout_ms": 1000})
	if n, err := k.Deliver(t.Context(), sinktest.Records(3)); n != 0 || err == nil {
		t.Errorf("delivered %d, %v, want none and an error", n, err)
	}
}

func TestKafka_SASL(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "llm"), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "u", "right"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	config := map[string]any{"brokers": cluster.ListenAddrs(), "topic": "llm", "mechanism": "scram-sha-256", "username": "u", "password": "right", "timeout_ms": 3000}
	k := &kafka.Kafka{}
	sinktest.Configure(t, k, config)
	sinktest.Deliver(t, k, sinktest.Records(3))
	config["password"] = "wrong"
	wrong := &kafka.Kafka{}
	sinktest.Configure(t, wrong, config)
	if n, err := wrong.Deliver(t.Context(), sinktest.Records(1)); n != 0 || err == nil {
		t.Errorf("with a wrong password: delivered %d, %v", n, err)
	}
}

func TestKafka_refuses(t *testing.T) {
	t.Parallel()
	for _, config := range []map[string]any{
		{},
		{"brokers": []string{"a:1"}},
		{"brokers": []string{"a:1"}, "topic": "t", "key": "model"},
		{"brokers": []string{"a:1"}, "topic": "t", "mechanism": "GSSAPI", "username": "u"},
		{"brokers": []string{"a:1"}, "topic": "t", "mechanism": "PLAIN"},
		{"brokers": []string{"a:1"}, "topic": "t", "ca": "x"},
	} {
		if sinktest.Try(&kafka.Kafka{}, config) == nil {
			t.Errorf("%v is taken", config)
		}
	}
}
