package load_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/config/load"
)

// TestParse_KeyManagement reads LiteLLM's stores of secrets: each is a secret source, and os.environ/NAME
// refers to it where the environment lacks the name, or where the name is hosted there.
func TestParse_KeyManagement(t *testing.T) {
	t.Parallel()
	account := filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(account, []byte("{\"client_email\":\"a@b\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const model = "model_list:\n  - {model_name: m, litellm_params: {model: openai/m, api_key: os.environ/THE_KEY}}\n"
	for _, tt := range []struct {
		name, settings string
		env            map[string]string
		config         string            // of the secret source
		secrets        map[string]string // the same
		key            string            // what stands for THE_KEY
		wrong          string            // error
	}{
		{
			name: "Vault with a token", settings: "key_management_system: hashicorp_vault", env: map[string]string{"HCP_VAULT_TOKEN": "t", "HCP_VAULT_PATH_PREFIX": "llm"},
			config: `{"address":"http://127.0.0.1:8200","mount":"secret","path_prefix":"llm"}`, secrets: map[string]string{"token": "t"}, key: "vault://THE_KEY",
		},
		{
			name: "Vault with an AppRole, of the file's variables", settings: "key_management_system: hashicorp_vault\nenvironment_variables: {HCP_VAULT_ADDR: https://v:8200, HCP_VAULT_APPROLE_ROLE_ID: r, HCP_VAULT_APPROLE_SECRET_ID: s}",
			config: `{"address":"https://v:8200","auth":"approle","mount":"secret","role_id":"r"}`, secrets: map[string]string{"secret_id": "s"}, key: "vault://THE_KEY",
		},
		{
			name: "AWS, one secret with all names", settings: "key_management_system: aws_secret_manager\n  key_management_settings: {primary_secret_name: llm/all, kms_key_id: k, aws_region_name: eu-west-1, store_virtual_keys: true, access_mode: read_and_write}",
			env:    map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION_NAME": "us-east-1"},
			config: `{"access_key_id":"a","kms_key_id":"k","region":"eu-west-1"}`, secrets: map[string]string{"secret_access_key": "s"}, key: "aws-sm://llm/all#THE_KEY",
		},
		{
			name: "Google", settings: "key_management_system: google_secret_manager", env: map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": account, "GOOGLE_SECRET_MANAGER_PROJECT_ID": "p"},
			config: `{"project":"p"}`, secrets: map[string]string{"service_account": `{"client_email":"a@b"}`}, key: "gcp-sm://THE_KEY",
		},
		{
			name: "Azure, as it was said before", settings: "use_azure_key_vault: true", env: map[string]string{"AZURE_KEY_VAULT_URI": "https://v.vault.azure.net", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "s"},
			config: `{"client_id":"c","tenant_id":"t","vault_url":"https://v.vault.azure.net"}`, secrets: map[string]string{"client_secret": "s"}, key: "azure-kv://THE_KEY",
		},
		{
			name: "the environment has the name", settings: "key_management_system: hashicorp_vault", env: map[string]string{"HCP_VAULT_TOKEN": "t", "THE_KEY": "sk-here"},
			config: `{"address":"http://127.0.0.1:8200","mount":"secret"}`, secrets: map[string]string{"token": "t"}, key: "sk-here",
		},
		{
			name: "hosted, whatever the environment has", settings: "key_management_system: hashicorp_vault\n  key_management_settings: {hosted_keys: [THE_KEY]}", env: map[string]string{"HCP_VAULT_TOKEN": "t", "THE_KEY": "sk-here"},
			config: `{"address":"http://127.0.0.1:8200","mount":"secret"}`, secrets: map[string]string{"token": "t"}, key: "vault://THE_KEY",
		},
		{name: "another is hosted", settings: "key_management_system: hashicorp_vault\n  key_management_settings: {hosted_keys: [OTHER]}", env: map[string]string{"HCP_VAULT_TOKEN": "t"}, wrong: "THE_KEY is not set"},
		{name: "no account", settings: "key_management_system: google_secret_manager", wrong: "GOOGLE_APPLICATION_CREDENTIALS is not set"},
		{name: "a system that there is not", settings: "key_management_system: cyberark", wrong: `"cyberark" is none`},
		{name: "an unknown setting", settings: "key_management_system: hashicorp_vault\n  key_management_settings: {no_such: 1}", env: map[string]string{"HCP_VAULT_TOKEN": "t"}, wrong: "key_management_settings.no_such"},
		{name: "stored, and only read", settings: "key_management_system: hashicorp_vault\n  key_management_settings: {store_virtual_keys: true}", env: map[string]string{"HCP_VAULT_TOKEN": "t"}, wrong: "access_mode"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			env := func(name string) (string, bool) {
				v, ok := tt.env[name]
				return v, ok
			}
			f, err := load.Text("c.yaml", []byte("general_settings:\n  "+tt.settings+"\n"+model), env)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Fatalf("got %v, want %q", err, tt.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(f.Resources.SecretSources) != 1 {
				t.Fatalf("got %d secret sources", len(f.Resources.SecretSources))
			}
			s := f.Resources.SecretSources[0]
			if string(s.Resource.Config) != tt.config || len(s.Secrets) != len(tt.secrets) {
				t.Errorf("got %s with %d secrets, want %s with %d", s.Resource.Config, len(s.Secrets), tt.config, len(tt.secrets))
			}
			for field, want := range tt.secrets {
				if got := s.Secrets[field].Reveal(); got != want {
					t.Errorf("%s: got %q, want %q", field, got, want)
				}
			}
			if got := f.Resources.Models[0].Deployments[0].APIKey.Reveal(); got != tt.key {
				t.Errorf("the key: got %q, want %q", got, tt.key)
			}
		})
	}
}
