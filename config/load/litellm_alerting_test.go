package load_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/config/load"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/channel"
)

const alertingFile = `
environment_variables:
  SLACK_WEBHOOK_URL: https://hooks.slack.com/services/T0/B0/very-secret
  WEBHOOK_URL: https://alerts.corp/in
  SMTP_HOST: smtp.corp
  SMTP_PORT: "2525"
  SMTP_USERNAME: conclave
  SMTP_PASSWORD: pass
  SMTP_SENDER_EMAIL: conclave@corp.example
general_settings:
  alerting: [slack, webhook, email]
  alert_types: [budget_alerts, outage_alerts]
  alert_to_webhook_url:
    outage_alerts: [https://hooks.slack.com/services/T0/B1/x]
  alerting_args: {budget_alert_ttl: 3600}
`

func TestParse_Alerting(t *testing.T) {
	t.Parallel()
	f, err := load.Text("c.yaml", []byte(alertingFile), environment)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(f.Resources.Settings, func(s config.Setting) bool { return s.Resource.ID == resource.SettingAlerts })
	if i < 0 {
		t.Fatalf("no setting: %+v", f.Resources.Settings)
	}
	value := f.Resources.Settings[i].Resource.Value
	s, err := channel.Parse(value)
	if err != nil || strings.Contains(string(value), "very-secret") {
		t.Fatalf("%s: %v", value, err)
	}
	var got []string
	for _, c := range s.Channels {
		got = append(got, c.Name+" "+c.Type+" "+c.URL+c.Host+" "+c.Credential+" "+strings.Join(c.Kinds, ","))
	}
	budget := "budget_exhausted,budget_increase_ended,budget_soft_limit,budget_threshold"
	want := []string{
		"slack-outage_alerts-1 slack https://hooks.slack.com alerting-slack-outage_alerts-1 node_down",
		"slack slack https://hooks.slack.com alerting-slack " + budget,
		"webhook webhook https://alerts.corp/in  " + budget,
		"email email smtp.corp:2525 alerting-email " + budget,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !slices.Equal(s.BudgetThresholds, []int64{85, 95}) || len(f.Resources.Credentials) != 3 || len(f.Ignored) == 0 {
		t.Errorf("thresholds %v, credentials %d, ignored %v", s.BudgetThresholds, len(f.Resources.Credentials), f.Ignored)
	}
}

func TestParse_AlertingErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, src, want string }{
		{"no variable", "general_settings: {alerting: [slack]}", "SLACK_WEBHOOK_URL is not set"},
		{"no mail server", "general_settings: {alerting: [email]}", "SMTP_HOST and SMTP_SENDER_EMAIL"},
		{"unknown channel", "general_settings: {alerting: [pager]}", `"pager" is not one of`},
		{"type without a meaning", "general_settings: {alert_types: [llm_too_slow]}", `"llm_too_slow" has no meaning here`},
		{"type without a meaning, with a URL", "general_settings: {alert_to_webhook_url: {daily_reports: https://x}}", `"daily_reports" has no meaning here`},
		{"argument", "general_settings: {alerting_args: {daily_report_frequency: 1}}", "daily_report_frequency"},
		{"threshold", "general_settings: {alerting_threshold: 300}", "alerting_threshold"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := load.Text("c.yaml", []byte(tt.src), environment)
			e, ok := err.(*config.Error) //nolint:errorlint // it is not wrapped
			if !ok || !strings.Contains(err.Error(), tt.want) && !strings.Contains(e.Problems[0].Detail, tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestParse_BudgetAlerts(t *testing.T) {
	t.Parallel()
	const src = `team "t" {
  budget {
    usd    = 5
    alerts = { at = [50, 80], channels = ["team"], emails = ["a@b.c"] }
  }
}
`
	f, err := load.Text("c.hcl", []byte(src), environment)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(f.Resources.Teams[0].Resource.Budgets[0].Alerts)
	if err != nil || string(got) != `{"at":[50,80],"channels":["team"],"emails":["a@b.c"]}` {
		t.Errorf("got %s, %v", got, err)
	}
	for bad, want := range map[string]string{"at = [0]": "alerts.at[0]", "tresholds = [1]": "tresholds: there is no such field; there are at, channels, emails"} {
		if _, err := load.Text("c.hcl", []byte(strings.Replace(src, "at = [50, 80]", bad, 1)), environment); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}
