package amazon_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/amazon"
	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// signed says whether the request has a signature of the service over the digest of its body. The
// signature itself is checked in test/counterparts, by moto; that of SQS is made by the same code.
func signed(r *sinktest.Request, service string) bool {
	sum := sha256.Sum256(r.Raw)
	form := regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=AKID/\d{8}/eu-west-1/` + service +
		`/aws4_request, SignedHeaders=[a-z0-9;-]*host;[a-z0-9;-]*x-amz-content-sha256;x-amz-date[a-z0-9;-]*, Signature=[0-9a-f]{64}$`)
	return form.MatchString(r.Header.Get("Authorization")) && r.Header.Get("X-Amz-Content-Sha256") == hex.EncodeToString(sum[:])
}

func s3(r *sinktest.Request) (int, string) {
	if r.Method != http.MethodPut || !signed(r, "s3") {
		return http.StatusForbidden, "<Error><Code>SignatureDoesNotMatch</Code></Error>"
	}
	return http.StatusOK, ""
}

func account(more map[string]any) map[string]any {
	config := map[string]any{"access_key_id": "AKID", "secret_access_key": "s3cret", "region": "eu-west-1"}
	maps.Copy(config, more)
	return config
}

func TestS3(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	config := account(map[string]any{"endpoint": s.URL, "bucket": "logs", "prefix": "llm"})
	sinktest.Behaves(t, func() sdk.Callback { return &amazon.S3{} }, s, sinktest.Config{Value: config, Secrets: []string{"s3cret"}}, s3)
	c := &amazon.S3{}
	sinktest.Configure(t, c, config)
	s.Answer(s3)
	sinktest.Deliver(t, c, sinktest.Records(3))
	got := s.Take()
	if want := "/logs/llm/2026/03/01/12/node_a-00000000000000000001-00000000000000000003.jsonl"; len(got) != 1 || got[0].Path != want {
		t.Fatalf("got %d objects, %s, want %s", len(got), got[0].Path, want)
	}
	var p payload.Payload
	if lines := got[0].Lines(); len(lines) != 3 || json.Unmarshal([]byte(lines[2]), &p) != nil || p.ID != "req-3" || p.StatusFields.Guardrail != "guardrail_intervened" {
		t.Errorf("lines %q", got[0].Lines())
	}
	if n, err := c.DeliverAudit(t.Context(), []sdk.AuditEntry{{Number: 3}, {Number: 4}}); n != 2 || err != nil {
		t.Fatalf("audit: %d, %v", n, err)
	}
	if got := s.Take()[0]; got.Path != "/logs/llm/audit/00000000000000000003-00000000000000000004.jsonl" || len(got.Lines()) != 2 {
		t.Errorf("audit: %s %s", got.Path, got.Body)
	}

	teams := &amazon.S3{}
	sinktest.Configure(t, teams, account(map[string]any{"endpoint": s.URL, "bucket": "logs", "team_prefix": true}))
	sinktest.DeliverEach(t, teams, sinktest.Records(2))
	if got := s.Take(); len(got) != 2 || got[1].Path != "/logs/team_1/2026-03-01/node_a-00000000000000000002.json" {
		t.Errorf("with a prefix for the team: %v", got[len(got)-1].Path)
	}
	for _, bad := range []map[string]any{{}, {"bucket": "b"}, account(map[string]any{"bucket": "a/b"}), account(map[string]any{"bucket": "b", "endpoint": "x"})} {
		if sinktest.Try(&amazon.S3{}, bad) == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

// What is wrong with credentials, a queue or the way there is not wrong with a record.
func TestKeeps(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	store, queue := &amazon.S3{}, &amazon.SQS{}
	sinktest.Configure(t, store, account(map[string]any{"endpoint": s.URL, "bucket": "logs", "single": true}))
	sinktest.Configure(t, queue, account(map[string]any{"queue_url": s.URL + "/1/logs"}))
	const xmlError = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>m</Message></Error>`
	for _, code := range []string{"ExpiredToken", "RequestTimeout", "InvalidBucketName", "KMS.DisabledException"} {
		sinktest.Keeps(t, store, s, http.StatusBadRequest, fmt.Sprintf(xmlError, code))
	}
	sinktest.Refuses(t, store, s, http.StatusBadRequest, fmt.Sprintf(xmlError, "EntityTooLarge"))
	for _, code := range []string{"com.amazonaws.sqs#QueueDoesNotExist", "com.amazonaws.sqs#RequestThrottled", "com.amazon.coral.service#ExpiredTokenException", "com.amazonaws.sqs#KmsDisabled"} {
		sinktest.Keeps(t, queue, s, http.StatusBadRequest, fmt.Sprintf(`{"__type":%q,"message":"m"}`, code))
	}
	sinktest.Refuses(t, queue, s, http.StatusBadRequest, `{"__type":"com.amazonaws.sqs#InvalidMessageContents","message":"m"}`)
	const failed = `{"Successful":[],"Failed":[{"Id":"0","Code":%q,"SenderFault":true}]}`
	sinktest.Keeps(t, queue, s, http.StatusOK, fmt.Sprintf(failed, "KMS.AccessDeniedException"))
	sinktest.Refuses(t, queue, s, http.StatusOK, fmt.Sprintf(failed, "InvalidMessageContents"))
}

func TestSQS(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	failing := ""
	queue := func(r *sinktest.Request) (int, string) {
		if r.Path != "/" || r.Header.Get("X-Amz-Target") != "AmazonSQS.SendMessageBatch" || r.Header.Get("Content-Type") != "application/x-amz-json-1.0" || !signed(r, "sqs") {
			return http.StatusForbidden, `{"__type":"SignatureDoesNotMatch"}`
		}
		var in struct {
			QueueUrl string                                                                     //nolint:revive // Amazon's name
			Entries  []struct{ Id, MessageBody, MessageGroupId, MessageDeduplicationId string } //nolint:revive // Amazon's names
		}
		if json.Unmarshal(r.Body, &in) != nil || len(in.Entries) == 0 || len(in.Entries) > 10 || !strings.HasSuffix(in.QueueUrl, "/1/logs.fifo") {
			return http.StatusBadRequest, "{}"
		}
		var bad []string
		for _, e := range in.Entries {
			if e.MessageGroupId != "node_a" || e.MessageDeduplicationId == "" {
				return http.StatusBadRequest, "{}"
			}
			if failing != "" && strings.Contains(e.MessageBody, `"req-3"`) {
				bad = append(bad, fmt.Sprintf(`{"Id":%q,"Code":"x","SenderFault":%s}`, e.Id, failing))
			}
		}
		return http.StatusOK, `{"Successful":[],"Failed":[` + strings.Join(bad, ",") + `]}`
	}
	config := account(map[string]any{"queue_url": s.URL + "/1/logs.fifo"})
	sinktest.Behaves(t, func() sdk.Callback { return &amazon.SQS{} }, s, sinktest.Config{Value: config, Secrets: []string{"s3cret"}}, queue)
	c := &amazon.SQS{}
	sinktest.Configure(t, c, config)
	s.Answer(queue)
	sinktest.Deliver(t, c, sinktest.Records(25))
	if n := len(s.Take()); n != 3 {
		t.Errorf("%d batches of 25, want 3", n)
	}
	for _, failing = range []string{"true", "false"} {
		n, err := c.Deliver(t.Context(), sinktest.Records(5))
		if _, refused := errors.AsType[*sdk.CallbackRefused](err); n != 2 || err == nil || refused != (failing == "true") {
			t.Errorf("delivered %d, %v", n, err)
		}
	}
}
