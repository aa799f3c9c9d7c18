"""Who is asking: known by a header, and bound for all that is logged."""

from django.contrib.auth.middleware import RemoteUserMiddleware

from fslog import context


class ProxyUserMiddleware(RemoteUserMiddleware):
    """Believe the proxy in front, which has checked the user and sets this header, always."""

    header = "HTTP_X_REMOTE_USER"


def who(get_response):
    """Bind the user; `wsgi.OneRequest` clears that after the access line, which is logged later."""

    def middleware(request):
        # acme.example.com belongs to the account acme.
        request.account = request.get_host().partition(".")[0]
        context.bind(accountId=request.account)
        if request.user.is_authenticated:
            context.bind(userId=request.user.pk, sessionId=request.session.session_key)
        return get_response(request)

    return middleware
