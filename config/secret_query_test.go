package config

import "testing"

func TestSecretsInTheQueryOfAnAddressAreNotShown(t *testing.T) {
	for text, want := range map[string]string{
		"http://authz/verify?token=abc&tenant=a": "http://authz/verify?token=(redacted)&tenant=a",
		"https://u:p@h/x?a=1&api_key=s%20t#f":    "https://u:(redacted)@h/x?a=1&api_key=(redacted)#f",
		"/path?token=abc":                        "/path?token=abc", // no address: a route's
		"http://h/x?a=1":                         "http://h/x?a=1",
	} {
		if got := maskUserinfo(text); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}
