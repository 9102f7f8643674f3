// model in body selects behaviour: mock-gpt instant | mock-slow 20 ms/chunk | mock-med 5 ms/chunk | mock-fast 1 ms/chunk | mock-think 50 ms think
// mock.c - the cheapest OpenAI upstream: one thread, epoll, HTTP/1.1 keep-alive.
// usage: mock PORT:THINK_MS:CHUNKS:CHUNK_DELAY_MS [...]     (one listener per spec, loopback only)
// POST /v1/chat/completions -> 1 KB JSON with usage, or SSE (chunked) when body has "stream":true ; GET /v1/models
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#define MAXFD 16384
#define WHEEL 8192
typedef struct { int think, chunks, delay; } Spec;
typedef struct Conn { int fd, open, busy; Spec *sp,*sp0; char *buf; size_t len, cap; int left; int stream; struct Conn *tn; uint64_t due; unsigned gen; char *ob; size_t ol, oc; int wantw; } Conn;
static Spec SLOW={0,64,20},THINK={50,64,0},MED={0,64,5},FAST={0,64,1};static Conn *C[MAXFD]; static Spec specs[16]; static Conn *wheel[WHEEL]; static uint64_t wheel_now; static int ep; static int ntimers;static unsigned long asked;
static char RESP[4096]; static size_t RESPL; static char MODELS[1024]; static size_t MODELSL;
static char SSEH[512]; static size_t SSEHL; static char CH[1024]; static size_t CHL; static char FIN[2048]; static size_t FINL; static char ROLE[1024]; static size_t ROLEL;
static uint64_t now_ms(void){struct timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec*1000ull+t.tv_nsec/1000000;}
static size_t mkchunk(char*o,const char*json){char b[1200];int n=snprintf(b,sizeof b,"data: %s\n\n",json);return sprintf(o,"%x\r\n%s\r\n",n,b);}
static void init(void){
  char content[600];memset(content,0,sizeof content);for(int i=0;i<90;i++)strcat(content,i%9?"token ":"Hello ");
  char body[2048];int n=snprintf(body,sizeof body,"{\"id\":\"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG\",\"object\":\"chat.completion\",\"created\":1741570283,\"model\":\"mock-gpt\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":117,\"completion_tokens\":90,\"total_tokens\":207,\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}},\"service_tier\":\"default\",\"system_fingerprint\":\"fp_fc9f1d7035\"}",content);
  RESPL=sprintf(RESP,"HTTP/1.1 200 OK\r\nserver: mock\r\ncontent-type: application/json\r\nx-request-id: req_0123456789\r\ncontent-length: %d\r\n\r\n%s",n,body);
  const char*m="{\"object\":\"list\",\"data\":[{\"id\":\"mock-gpt\",\"object\":\"model\",\"created\":1741570283,\"owned_by\":\"mock\"}]}";
  MODELSL=sprintf(MODELS,"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",strlen(m),m);
  SSEHL=sprintf(SSEH,"HTTP/1.1 200 OK\r\nserver: mock\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\nx-request-id: req_0123456789\r\ntransfer-encoding: chunked\r\n\r\n");
  ROLEL=mkchunk(ROLE,"{\"id\":\"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG\",\"object\":\"chat.completion.chunk\",\"created\":1741570283,\"model\":\"mock-gpt\",\"system_fingerprint\":\"fp_fc9f1d7035\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]}");
  CHL=mkchunk(CH,"{\"id\":\"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG\",\"object\":\"chat.completion.chunk\",\"created\":1741570283,\"model\":\"mock-gpt\",\"system_fingerprint\":\"fp_fc9f1d7035\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"logprobs\":null,\"finish_reason\":null}]}");
  FINL=mkchunk(FIN,"{\"id\":\"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG\",\"object\":\"chat.completion.chunk\",\"created\":1741570283,\"model\":\"mock-gpt\",\"system_fingerprint\":\"fp_fc9f1d7035\",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}");
  FINL+=mkchunk(FIN+FINL,"{\"id\":\"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG\",\"object\":\"chat.completion.chunk\",\"created\":1741570283,\"model\":\"mock-gpt\",\"choices\":[],\"usage\":{\"prompt_tokens\":117,\"completion_tokens\":64,\"total_tokens\":181}}");
  FINL+=mkchunk(FIN+FINL,"[DONE]");FINL+=sprintf(FIN+FINL,"0\r\n\r\n");
}
static void closec(Conn*c){close(c->fd);c->open=0;c->gen++;if(c->due==0){}}
static void outw(Conn*c,const char*p,size_t n){ // write or buffer
  if(!c->ol){ssize_t w=write(c->fd,p,n);if(w==(ssize_t)n)return;if(w<0){if(errno!=EAGAIN){return;}w=0;}p+=w;n-=w;}
  if(c->ol+n>c->oc){c->oc=(c->ol+n)*2;c->ob=realloc(c->ob,c->oc);}memcpy(c->ob+c->ol,p,n);c->ol+=n;
  if(!c->wantw){struct epoll_event e={.events=EPOLLIN|EPOLLOUT,.data.fd=c->fd};epoll_ctl(ep,EPOLL_CTL_MOD,c->fd,&e);c->wantw=1;}
}
static void arm(Conn*c,int ms){if(ms<1)ms=1;if(ms>=WHEEL)ms=WHEEL-1;c->due=now_ms()+ms;unsigned s=c->due%WHEEL;c->tn=wheel[s];wheel[s]=c;ntimers++;}
static void process(Conn*c);
static void fire(Conn*c){ // timer due: c busy
  if(!c->open){c->busy=0;return;}
  if(!c->stream){outw(c,RESP,RESPL);c->busy=0;process(c);return;}
  Spec*s=c->sp;
  if(c->left==s->chunks){char b[2048];memcpy(b,SSEH,SSEHL);memcpy(b+SSEHL,ROLE,ROLEL);outw(c,b,SSEHL+ROLEL);c->left--; if(s->delay){arm(c,s->delay);return;}}
  if(s->delay==0){while(c->left>1){outw(c,CH,CHL);c->left--;}outw(c,FIN,FINL);c->busy=0;process(c);return;}
  if(c->left>1){outw(c,CH,CHL);c->left--;arm(c,s->delay);return;}
  outw(c,FIN,FINL);c->busy=0;process(c);
}
static void process(Conn*c){
  while(c->open&&!c->busy&&c->len){
    char*e=memmem(c->buf,c->len,"\r\n\r\n",4);if(!e)return;size_t hl=e+4-c->buf;size_t cl=0;int te=0;
    for(char*p=c->buf;p<e;){char*q=memchr(p,'\n',e+2-p);if(!q)break;if(q-p>15&&!strncasecmp(p,"content-length:",15))cl=strtoul(p+15,0,10);if(q-p>18&&!strncasecmp(p,"transfer-encoding:",18))te=1;p=q+1;}
    size_t tot;char*body=c->buf+hl;size_t bl=cl;
    if(te){char*z=memmem(body,c->len-hl,"0\r\n\r\n",5);if(!z)return;tot=z+5-c->buf;bl=z-body;}else tot=hl+cl;
    if(c->len<tot)return;
    int get=!strncmp(c->buf,"GET",3),count=!strncmp(c->buf,"GET /count ",11);if(!get)asked++;
    c->stream=0;c->sp=c->sp0;
    if(!get){char*m=memmem(body,bl,"mock-",5);if(m){char x=m[5];if(x=='s')c->sp=&SLOW;else if(x=='t')c->sp=&THINK;else if(x=='m')c->sp=&MED;else if(x=='f')c->sp=&FAST;}}
    if(!get){ if(memmem(body,bl,"\"stream\":true",13)||memmem(body,bl,"\"stream\": true",14))c->stream=1; }
    c->len-=tot;memmove(c->buf,c->buf+tot,c->len);
    if(count){char o[128],n[24];int l=sprintf(n,"%lu",asked);l=sprintf(o,"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s",l,n);outw(c,o,l);continue;}
    if(get){outw(c,MODELS,MODELSL);continue;}
    c->busy=1;c->left=c->sp->chunks;
    if(c->sp->think)arm(c,c->sp->think);else fire(c);
  }
}
int main(int ac,char**av){
  signal(SIGPIPE,SIG_IGN);init();ep=epoll_create1(0);int lfd[16],nl=0;
  for(int i=1;i<ac&&nl<16;i++){int port;Spec*s=&specs[nl];s->chunks=64;sscanf(av[i],"%d:%d:%d:%d",&port,&s->think,&s->chunks,&s->delay);
    int f=socket(AF_INET,SOCK_STREAM|SOCK_NONBLOCK,0),one=1;setsockopt(f,SOL_SOCKET,SO_REUSEADDR,&one,sizeof one);
    struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(port),.sin_addr.s_addr=htonl(INADDR_LOOPBACK)};
    if(bind(f,(void*)&a,sizeof a)||listen(f,4096)){perror("bind");return 1;}
    struct epoll_event e={.events=EPOLLIN,.data.fd=f};epoll_ctl(ep,EPOLL_CTL_ADD,f,&e);lfd[nl++]=f;}
  wheel_now=now_ms();struct epoll_event ev[512];
  for(;;){int n=epoll_wait(ep,ev,512,ntimers?1:1000);
    for(int i=0;i<n;i++){int fd=ev[i].data.fd,l=-1;for(int k=0;k<nl;k++)if(lfd[k]==fd)l=k;
      if(l>=0){for(;;){int f=accept4(fd,0,0,SOCK_NONBLOCK);if(f<0)break;if(f>=MAXFD){close(f);continue;}int one=1;setsockopt(f,IPPROTO_TCP,TCP_NODELAY,&one,sizeof one);
          Conn*c=C[f];if(!c||c->busy){c=calloc(1,sizeof*c);C[f]=c;}c->fd=f;c->open=1;c->sp=c->sp0=&specs[l];c->len=0;c->ol=0;c->wantw=0;c->busy=0;
          if(!c->buf){c->cap=16384;c->buf=malloc(c->cap);}
          struct epoll_event e={.events=EPOLLIN,.data.fd=f};epoll_ctl(ep,EPOLL_CTL_ADD,f,&e);}continue;}
      Conn*c=C[fd];if(!c||!c->open)continue;
      if(ev[i].events&EPOLLOUT){ssize_t w=write(fd,c->ob,c->ol);if(w>0){c->ol-=w;memmove(c->ob,c->ob+w,c->ol);}if(!c->ol){struct epoll_event e={.events=EPOLLIN,.data.fd=fd};epoll_ctl(ep,EPOLL_CTL_MOD,fd,&e);c->wantw=0;}}
      if(ev[i].events&(EPOLLIN|EPOLLHUP|EPOLLERR)){
        for(;;){if(c->cap-c->len<8192){c->cap*=2;c->buf=realloc(c->buf,c->cap);}
        ssize_t r=read(fd,c->buf+c->len,c->cap-c->len);if(r<=0){if(r==0||errno!=EAGAIN)closec(c);break;}c->len+=r;if((size_t)r<8192)break;}
        if(c->open)process(c);}
    }
    if(ntimers){uint64_t t=now_ms();while(wheel_now<=t){unsigned s=wheel_now%WHEEL;Conn*c=wheel[s];wheel[s]=0;while(c){Conn*nx=c->tn;if(c->due<=wheel_now){ntimers--;fire(c);}else{c->tn=wheel[s];wheel[s]=c;}c=nx;}wheel_now++;}}
    else wheel_now=now_ms();
  }
}
