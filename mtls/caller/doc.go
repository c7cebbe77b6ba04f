// Package caller tells an app who calls it, for apps that stand behind a Lintel
// sidecar: the user, as the Txn-Token says, and the services the call came
// through.
//
//	var callers = caller.FromSidecar("http://127.0.0.1:9901", "corp.example")
//
//	func pay(w http.ResponseWriter, r *http.Request) {
//		c, err := callers.Of(r)
//		…
//	}
//
// FromSidecar verifies the Txn-Token itself, with the keys that the sidecar's
// admin API serves. TrustHeaders believes the headers that the sidecar has made
// of it, which costs nothing and is as good as the app's port is closed to
// everybody else.
package caller
