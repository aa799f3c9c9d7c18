"""Who is asking: the user is known by a header, the account by the host."""

from django.contrib.auth.middleware import RemoteUserMiddleware


class ProxyUserMiddleware(RemoteUserMiddleware):
    """Believe the proxy in front, which has checked the user and sets this header, always."""

    header = "HTTP_X_REMOTE_USER"


def account(get_response):
    """Set the account: acme.example.com belongs to the account acme."""

    def middleware(request):
        request.account = request.get_host().partition(".")[0]
        return get_response(request)

    return middleware
