import django.conf
import django.core.wsgi
import django.http
import django.urls
import prometheus_client


def metrics(request):
    return django.http.HttpResponse(prometheus_client.generate_latest(), content_type=prometheus_client.CONTENT_TYPE_LATEST)


urlpatterns = [django.urls.path("metrics", metrics)]
django.conf.settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["www.example.org"], SECRET_KEY="set your own", MIDDLEWARE=["django.middleware.common.CommonMiddleware"])
app = django.core.wsgi.get_wsgi_application()
