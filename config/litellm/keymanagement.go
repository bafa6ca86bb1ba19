package litellm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/resource"
)

// manager is one of LiteLLM's key_management_systems as a secret source.
type manager struct {
	source, plugin string
	config         map[string]string // its fields with the variables that LiteLLM reads them from
	secrets        map[string]string // the same
	defaults       map[string]string // of fields
}

// managers are those that a secret source does the work of.
var managers = map[string]manager{
	"hashicorp_vault": {
		source: "vault", plugin: "vault",
		config: map[string]string{
			"address": "HCP_VAULT_ADDR", "namespace": "HCP_VAULT_NAMESPACE", "mount": "HCP_VAULT_MOUNT_NAME", "path_prefix": "HCP_VAULT_PATH_PREFIX",
			"role_id": "HCP_VAULT_APPROLE_ROLE_ID", "auth_mount": "HCP_VAULT_APPROLE_MOUNT_PATH", "role": "HCP_VAULT_CERT_ROLE",
		},
		secrets: map[string]string{ //nolint:gosec // names of variables
			"token": "HCP_VAULT_TOKEN", "secret_id": "HCP_VAULT_APPROLE_SECRET_ID", "client_cert": "HCP_VAULT_CLIENT_CERT", "client_key": "HCP_VAULT_CLIENT_KEY",
		},
		defaults: map[string]string{"address": "http://127.0.0.1:8200", "mount": "secret"},
	},
	"aws_secret_manager": {
		source: "aws-sm", plugin: "aws_secrets_manager",
		config:  map[string]string{"access_key_id": "AWS_ACCESS_KEY_ID", "region": "AWS_REGION_NAME"},
		secrets: map[string]string{"secret_access_key": "AWS_SECRET_ACCESS_KEY", "session_token": "AWS_SESSION_TOKEN"}, //nolint:gosec // names of variables
	},
	"google_secret_manager": {
		source: "gcp-sm", plugin: "gcp_secret_manager",
		config: map[string]string{"project": "GOOGLE_SECRET_MANAGER_PROJECT_ID"},
	},
	"azure_key_vault": {
		source: "azure-kv", plugin: "azure_key_vault",
		config:  map[string]string{"vault_url": "AZURE_KEY_VAULT_URI", "tenant_id": "AZURE_TENANT_ID", "client_id": "AZURE_CLIENT_ID"},
		secrets: map[string]string{"client_secret": "AZURE_CLIENT_SECRET"}, //nolint:gosec // the name of a variable
	},
}

// startKeys are the systems that open values as the node starts, which it does without being told.
var startKeys = []string{"aws_kms", "google_kms", "local"}

// kept is where the file's os.environ/NAME may be looked up beside the environment.
type kept struct {
	source  string
	primary string   // the one secret that has all names as fields; "": each name is a secret
	hosted  []string // the names that are looked up there alone; none: those that the environment lacks
}

// reference is what stands for the value of a name, "" if that is not looked up there.
func (k *kept) reference(name string, unset bool) string {
	if k == nil || len(k.hosted) > 0 && !slices.Contains(k.hosted, name) || len(k.hosted) == 0 && !unset {
		return ""
	}
	ref := resource.SecretRef{Source: k.source, Path: name}
	if k.primary != "" {
		ref.Path, ref.Field = k.primary, name
	}
	return ref.String()
}

// keyManagement reads key_management_system and its settings.
func (d *decoder) keyManagement(m *mapping) {
	n := m.take("key_management_system")
	name := ""
	if n != nil {
		name = d.text(n, m.of("key_management_system"))
	}
	for _, old := range []struct{ flag, name string }{{"use_azure_key_vault", "azure_key_vault"}, {"use_google_kms", "google_kms"}} {
		at := m.values[old.flag]
		if m.boolean(old.flag) && name == "" {
			n, name = at, old.name
		}
	}
	of := d.mapping(m.of("key_management_settings"), m.take("key_management_settings"))
	switch system, ok := managers[name]; {
	case name == "":
	case slices.Contains(startKeys, name):
		d.ignore(n, m.of("key_management_system"), "is not needed: each node opens such values of its environment as it starts")
	case ok:
		d.keyManager(n, of, &system)
	default:
		d.wrong(n, m.of("key_management_system"), "%q is none that a secret source can be: hashicorp_vault, aws_secret_manager, google_secret_manager, azure_key_vault.", name)
	}
	of.end()
}

// keyManager makes the secret source of a system.
func (d *decoder) keyManager(n *yaml.Node, of *mapping, system *manager) {
	s := config.SecretSource{Position: d.position(n), Resource: resource.SecretSource{
		Meta: config.Owned(), Name: system.source, Plugin: system.plugin, AccessMode: resource.AccessMode(of.text("access_mode")),
		StoreVirtualKeys: of.boolean("store_virtual_keys"), KeyPrefix: of.text("prefix_for_stored_virtual_keys"),
	}}
	d.kept = &kept{source: system.source, primary: of.text("primary_secret_name"), hosted: of.texts("hosted_keys")}
	settings := map[string]any{}
	for field, variable := range system.config {
		if v := cmp.Or(d.variable(variable), system.defaults[field]); v != "" {
			settings[field] = v
		}
	}
	for field, variable := range system.secrets {
		if v := d.variable(variable); v != "" {
			if s.Secrets == nil {
				s.Secrets = map[string]config.Secret{}
			}
			s.Secrets[field] = config.Secret(v)
		}
	}
	if err := d.managerAccount(of, system, settings, &s); err != nil {
		d.invalid("key_management_system", n, err)
		return
	}
	var err error
	if s.Resource.Config, err = json.Marshal(settings); err != nil {
		d.invalid("key_management_system", n, err)
		return
	}
	s.Resource.Canonicalize()
	if err := s.Resource.Validate(); err != nil {
		d.invalid("key_management_system", n, err)
		return
	}
	d.out.Resources.SecretSources = append(d.out.Resources.SecretSources, s)
}

// managerAccount adds what only one of the systems has.
func (d *decoder) managerAccount(of *mapping, system *manager, settings map[string]any, s *config.SecretSource) error {
	switch system.plugin {
	case "vault":
		switch {
		case s.Secrets["token"] != "":
		case settings["role_id"] != nil:
			settings["auth"] = "approle"
		case s.Secrets["client_cert"] != "":
			settings["auth"] = "cert"
		}
		if settings["auth"] != "approle" {
			delete(settings, "role_id")
			delete(settings, "auth_mount")
		}
	case "aws_secrets_manager":
		for field, name := range map[string]string{"region": "aws_region_name", "kms_key_id": "kms_key_id"} {
			if v := of.text(name); v != "" {
				settings[field] = v
			}
		}
	case "gcp_secret_manager":
		path := cmp.Or(d.variable("GCS_PATH_SERVICE_ACCOUNT"), d.variable("GOOGLE_APPLICATION_CREDENTIALS"))
		if path == "" {
			return fmt.Errorf("GOOGLE_APPLICATION_CREDENTIALS is not set: the file with the key of a service account")
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read GOOGLE_APPLICATION_CREDENTIALS: %w", err)
		}
		s.Secrets = map[string]config.Secret{"service_account": config.Secret(strings.TrimSpace(string(text)))}
	}
	return nil
}
