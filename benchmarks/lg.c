// lg.c - one-thread epoll load generator, closed loop (default) or open loop at a fixed rate (-r, coordinated-omission safe).
// usage: lg -p PORT -c CONNS -d SECS [-w WARM_SECS] [-r RATE] [-u PATH] [-b BODYFILE] [-H "k: v"]... [-m GET] [-x [-s START]]   -> one JSON line
// -x: the 8 digits 00000000 in the body become a running counter (from START), so that every request is new to a cache
// measures latency (last byte), ttfb (first body byte), SSE events ("data:" counts), errors (non-2xx, resets)
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
#include <sys/prctl.h>
typedef struct {int fd,st;/*0 idle 1 hdr 2 body*/ double t0,tf; char h[16384]; size_t hl; long cl; int chunked; int cst; long cleft; int status,closing,inflight; size_t sent; int dm; long ev;} K;
static double now(void){struct timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec+t.tv_nsec*1e-9;}
static char *req;static size_t reql;static char *ctr;static unsigned long nctr;static int ep,port;static long tot,totev;static K*ks;static int nc=1;
static long limit,started,shorts,minev;static float *L,*F;static size_t nL,capL;static long errs,events,bytes,non2xx,reconn;static double tstart,tmeas,tend;static int firsterr;
static int cmp(const void*a,const void*b){float x=*(float*)a,y=*(float*)b;return x<y?-1:x>y;}
static int conn(K*k){int f=socket(AF_INET,SOCK_STREAM,0),one=1;struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(port),.sin_addr.s_addr=htonl(INADDR_LOOPBACK)};
  if(connect(f,(void*)&a,sizeof a)){close(f);k->fd=-1;return -1;}fcntl(f,F_SETFL,O_NONBLOCK);setsockopt(f,IPPROTO_TCP,TCP_NODELAY,&one,sizeof one);k->fd=f;k->st=0;k->hl=0;
  struct epoll_event e={.events=EPOLLIN,.data.ptr=k};epoll_ctl(ep,EPOLL_CTL_ADD,f,&e);return 0;}
static void start(K*k,double t){k->t0=t;k->tf=0;k->st=1;k->hl=0;k->cl=-1;k->chunked=0;k->cst=0;k->cleft=0;k->dm=0;k->closing=0;k->ev=0;started++;
  if(k->fd<0&&conn(k)){errs++;k->st=0;return;}k->st=1;if(ctr){unsigned long v=++nctr;for(int i=7;i>=0;i--){ctr[i]='0'+v%10;v/=10;}}size_t o=0;while(o<reql){ssize_t w=write(k->fd,req+o,reql-o);if(w<0){if(errno==EAGAIN)continue;errs++;close(k->fd);k->fd=-1;k->st=0;return;}o+=w;}}
static void done(K*k,double t){tot++;if(k->ev<minev)shorts++; if(t>=tmeas&&t<=tend){if(k->status>=200&&k->status<300){if(nL==capL){capL=capL?capL*2:65536;L=realloc(L,capL*4);F=realloc(F,capL*4);}L[nL]=(t-k->t0)*1e6;F[nL]=(k->tf-k->t0)*1e6;nL++;}else{non2xx++;if(!firsterr)firsterr=k->status;}}
  k->st=0;if(k->closing){close(k->fd);k->fd=-1;reconn++;}}
static void countev(K*k,const char*p,size_t n,double t){ // counts "data:" across buffers
  static const char*pat="data:";const char*e=p+n;
  if(!k->dm){while((p=memchr(p,'d',e-p))){size_t r=e-p;if(r>=5){if(!memcmp(p,pat,5)){totev++;k->ev++;if(t>=tmeas&&t<=tend)events++;p+=5;}else p++;}else{size_t i=0;while(i<r&&p[i]==pat[i])i++;if(i==r)k->dm=i;break;}if(p>=e)break;}return;}
  while(p<e){if(*p==pat[k->dm]){k->dm++;if(k->dm==5){totev++;k->ev++;if(t>=tmeas&&t<=tend)events++;k->dm=0;p++;if(p<e)countev(k,p,e-p,t);return;}p++;}else{k->dm=0;countev(k,p,e-p,t);return;}}
}
static int body(K*k,char*p,size_t n,double t){ // returns 1 when complete
  if(n&&!k->tf)k->tf=t;if(t>=tmeas&&t<=tend)bytes+=n;
  if(!k->chunked){countev(k,p,n,t);if(k->cl>=0){k->cl-=n;return k->cl<=0;}return 0;}
  char*e=p+n;while(p<e){
    if(k->cst==0){char c=*p++;if(c=='\n'){if(k->cleft==0)k->cst=4;else k->cst=2;}else if(c=='\r'){}else if(c==';')k->cst=1;else{int v=c>='0'&&c<='9'?c-'0':(c|32)>='a'&&(c|32)<='f'?(c|32)-'a'+10:-1;if(v>=0)k->cleft=k->cleft*16+v;}}
    else if(k->cst==1){if(*p++=='\n')k->cst=k->cleft?2:4;}
    else if(k->cst==2){size_t m=e-p<k->cleft?e-p:k->cleft;countev(k,p,m,t);p+=m;k->cleft-=m;if(!k->cleft)k->cst=3;}
    else if(k->cst==3){if(*p++=='\n'){k->cst=0;k->cleft=0;}}
    else if(k->cst==4){if(*p++=='\n')return 1;}
  }return 0;}
static void onread(K*k){char b[65536];
  for(;;){ssize_t r=read(k->fd,b,sizeof b);double t=now();
    if(r<=0){if(r<0&&errno==EAGAIN)return;if(k->st==2&&!k->chunked&&k->cl<0){k->closing=1;done(k,t);return;}if(k->st){if(getenv("LGDBG"))fprintf(stderr,"eof in state %d hl=%zu r=%zd\n",k->st,k->hl,r);if(t>=tmeas)errs++;}close(k->fd);k->fd=-1;k->st=0;return;}
    char*p=b;size_t n=r;
    if(k->st==1){size_t o=k->hl;size_t m=n<sizeof k->h-o-1?n:sizeof k->h-o-1;memcpy(k->h+o,p,m);k->hl+=m;char*e=memmem(k->h,k->hl,"\r\n\r\n",4);if(!e){if((size_t)r<sizeof b)return;continue;}
      *e=0;k->status=atoi(k->h+9);char*x;if((x=strcasestr(k->h,"\r\ncontent-length:")))k->cl=atol(x+17);if((x=strcasestr(k->h,"\r\ntransfer-encoding:"))&&strcasestr(x,"chunked"))k->chunked=1;if(strcasestr(k->h,"\r\nconnection: close"))k->closing=1;
      size_t used=(e+4-k->h)-o;p+=used;n-=used;k->st=2;if(!k->chunked&&k->cl==0){k->tf=t;done(k,t);return;}}
    if(k->st==2&&n){if(body(k,p,n,t)){done(k,t);return;}}
    if((size_t)r<sizeof b)return;}
}
int main(int ac,char**av){prctl(PR_SET_TIMERSLACK,1000);signal(SIGPIPE,SIG_IGN);double dur=5,warm=1,rate=0;char*path="/v1/chat/completions",*bf=0,*meth="POST";char hd[8192]="";int o,xx=0;
  while((o=getopt(ac,av,"p:c:d:w:r:u:b:H:m:xs:n:e:"))>0){if(o=='p')port=atoi(optarg);if(o=='c')nc=atoi(optarg);if(o=='d')dur=atof(optarg);if(o=='w')warm=atof(optarg);if(o=='r')rate=atof(optarg);if(o=='u')path=optarg;if(o=='b')bf=optarg;if(o=='m')meth=optarg;if(o=='x')xx=1;if(o=='n')limit=atol(optarg);if(o=='e')minev=atol(optarg);if(o=='s')nctr=strtoul(optarg,0,10);if(o=='H'){strcat(hd,optarg);strcat(hd,"\r\n");}}
  char*bb=0;long bl=0;if(bf){FILE*f=fopen(bf,"rb");fseek(f,0,SEEK_END);bl=ftell(f);rewind(f);bb=malloc(bl);fread(bb,1,bl,f);fclose(f);}
  req=malloc(bl+16384);if(bf)reql=sprintf(req,"%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: lg/1\r\nAccept: */*\r\nContent-Type: application/json\r\n%sContent-Length: %ld\r\n\r\n",meth,path,port,hd,bl);else reql=sprintf(req,"%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: lg/1\r\nAccept: */*\r\n%s\r\n",meth,path,port,hd);
  if(bl){memcpy(req+reql,bb,bl);if(xx){ctr=memmem(req+reql,bl,"00000000",8);if(!ctr){fprintf(stderr,"-x: no 00000000 in the body\n");return 2;}}reql+=bl;}
  ep=epoll_create1(0);ks=calloc(nc,sizeof(K));for(int i=0;i<nc;i++){ks[i].fd=-1;if(conn(&ks[i]))errs++;}
  tstart=now();tmeas=tstart+warm;tend=tmeas+dur;double next=tstart;struct epoll_event ev[256];int rr=0;
  if(!rate)for(int i=0;i<nc;i++)if(!limit||started<limit)start(&ks[i],now());
  for(;;){double t=now();if(t>tend||(limit&&tot+errs>=limit)){if(limit)dur=t-tmeas;break;}
    double tw=0.05;
    if(rate){while(next<=t){int f=0;for(int i=0;i<nc;i++){K*k=&ks[(rr+i)%nc];if(k->st==0){rr=(rr+i+1)%nc;start(k,next);f=1;break;}}if(!f)break;next+=1/rate;}
      double w=next-now();if(w<=0)w=0.0005;if(w>0.05)w=0.05;tw=w;}
    struct timespec ts={0,(long)(tw*1e9)};int n=epoll_pwait2(ep,ev,256,&ts,0);
    for(int i=0;i<n;i++){K*k=ev[i].data.ptr;if(k->fd<0)continue;onread(k);if(!rate&&k->st==0&&(!limit||started<limit))start(k,now());}
    if(!rate&&n==0)for(int i=0;i<nc;i++)if(ks[i].st==0&&(!limit||started<limit))start(&ks[i],now());
  }
  qsort(L,nL,4,cmp);qsort(F,nL,4,cmp);int left=0;for(int i=0;i<nc;i++)left+=ks[i].st!=0;double s=0;for(size_t i=0;i<nL;i++)s+=L[i];
#define Q(A,q) (nL?A[(size_t)((nL-1)*q)]:0)
  printf("{\"n\":%zu,\"rps\":%.1f,\"p50\":%.0f,\"p90\":%.0f,\"p99\":%.0f,\"max\":%.0f,\"mean\":%.1f,\"ttfb50\":%.0f,\"ttfb99\":%.0f,\"ev_s\":%.1f,\"mb_s\":%.2f,\"non2xx\":%ld,\"firsterr\":%d,\"errs\":%ld,\"reconn\":%ld,\"tot\":%ld,\"totev\":%ld,\"short\":%ld,\"open\":%d}\n",nL,nL/dur,Q(L,.5),Q(L,.9),Q(L,.99),Q(L,1.0),nL?s/nL:0,Q(F,.5),Q(F,.99),events/dur,bytes/dur/1e6,non2xx,firsterr,errs,reconn,tot,totev,shorts,left);
}
